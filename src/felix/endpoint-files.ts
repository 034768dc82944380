/**
 * One file for each local endpoint that is up, under `<EndpointStatusPathPrefix>/endpoint-status/`:
 * a CNI plugin may wait for it before it lets a pod start. The name is
 * `<orchestrator> <workload> <endpoint>`, each part path-escaped, as Felix names it.
 */
import { mkdir, readdir, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { FromDataplane, WorkloadEndpoint, WorkloadEndpointId } from "#calc";
import { logger } from "#log";

const log = logger("felix.status");

export function statusFileName(id: WorkloadEndpointId): string {
  return [id.orchestratorId, id.workloadId, id.endpointId].map(pathEscape).join(" ");
}

/** As Go's url.PathEscape: RFC 3986 §3.3 segment, with `$&+=:@` left as they are. */
function pathEscape(part: string): string {
  return encodeURIComponent(part)
    .replace(/[!'()*]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`)
    .replace(/%(?:24|26|2B|3D|3A|40)/g, decodeURIComponent);
}

export class EndpointStatusFiles {
  readonly #directory: string;
  readonly #endpointOf: (id: WorkloadEndpointId) => WorkloadEndpoint | undefined;
  readonly #present = new Set<string>();
  /** Operations run one after the other, so that the last one wins. */
  #chain: Promise<void> = Promise.resolve();
  #complained = false;

  constructor(
    pathPrefix: string,
    endpointOf: (id: WorkloadEndpointId) => WorkloadEndpoint | undefined,
  ) {
    this.#directory = join(pathPrefix, "endpoint-status");
    this.#endpointOf = endpointOf;
    this.#run(async () => {
      await mkdir(this.#directory, { recursive: true });
    });
  }

  onStatus(message: FromDataplane): void {
    if (message.case === "workloadEndpointStatusUpdate") {
      const name = statusFileName(message.value.id);
      if (message.value.status === "up") this.#write(name, this.#endpointOf(message.value.id));
      else this.#remove(name);
    } else if (message.case === "workloadEndpointStatusRemove") {
      this.#remove(statusFileName(message.value.id));
    }
  }

  /** Removes files of endpoints that are gone or not up; call when all have been reported. */
  sweepStale(): void {
    this.#run(async () => {
      for (const name of await readdir(this.#directory)) {
        if (!this.#present.has(name)) await rm(join(this.#directory, name), { force: true });
      }
    });
  }

  close(): Promise<void> {
    return this.#chain;
  }

  #write(name: string, endpoint: WorkloadEndpoint | undefined): void {
    this.#present.add(name);
    const text = JSON.stringify(
      endpoint === undefined
        ? {}
        : {
            ifaceName: endpoint.name,
            mac: endpoint.mac,
            ipv4Nets: endpoint.ipv4Nets,
            ipv6Nets: endpoint.ipv6Nets,
          },
    );
    this.#run(async () => {
      const path = join(this.#directory, name);
      // Readers see a whole file or none.
      await writeFile(`${path}.tmp`, text);
      await rename(`${path}.tmp`, path);
    });
  }

  #remove(name: string): void {
    this.#present.delete(name);
    this.#run(() => rm(join(this.#directory, name), { force: true }));
  }

  #run(operation: () => Promise<void>): void {
    this.#chain = this.#chain.then(operation).catch((error: unknown) => {
      if (!this.#complained) log.warn("endpoint status file could not be written", { error });
      this.#complained = true;
    });
  }
}
