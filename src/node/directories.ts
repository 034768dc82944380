/** Where a node has its files; nodes that share a machine have each their own. */
import { Option } from "commander";

export interface Directories {
  readonly serviceDir: string;
  readonly runDir: string;
  readonly confDir: string;
  readonly logDir: string;
}

const DIRECTORIES = {
  service: ["the services run in DIR/enabled", "/run/margay/service"],
  run: ["where bird.ctl and bird6.ctl are", "/var/run/calico"],
  conf: ["BIRD's configuration, in DIR/config", "/etc/calico/confd"],
  log: ["logs of the services, in DIR/SERVICE", "/var/log/calico"],
} as const;

/** `--run-dir DIR`, or `MARGAY_RUN_DIR`. */
export function directoryOption(name: keyof typeof DIRECTORIES): Option {
  const [description, standard] = DIRECTORIES[name];
  return new Option(`--${name}-dir <dir>`, description)
    .env(`MARGAY_${name.toUpperCase()}_DIR`)
    .default(standard);
}
