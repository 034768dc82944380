/** Connections of addresses are forgotten, those of others are not. */
import { execFileSync } from "node:child_process";
import { parseIp } from "#ip";
import { openConntrack } from "#netlink";

function insert(source: string, target: string, port: number): void {
  const ends = ["-s", source, "-d", target, "-p", "tcp", "--sport", "1000", "--dport", `${port}`];
  const state = ["--state", "ESTABLISHED", "-t", "600"];
  execFileSync("conntrack", ["-I", ...ends, ...state], { stdio: "ignore" });
}

/** Inserts flows from, to and beside each address, forgets the addresses, returns what is left. */
function leftAfter(addresses: readonly string[], beside: readonly [string, string]): string[] {
  for (const [index, address] of addresses.entries()) {
    insert(address, beside[0], 2000 + index);
    insert(beside[0], address, 3000 + index);
  }
  insert(beside[0], beside[1], 4000);
  const conntrack = openConntrack();
  conntrack.forget(addresses.map(parseIp));
  conntrack.forget([]);
  conntrack.close();
  const left = ["ipv4", "ipv6"].flatMap((family) =>
    execFileSync("conntrack", ["-L", "-f", family], {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "ignore"],
    })
      .split("\n")
      .flatMap((line) => /src=(\S+) dst=(\S+) sport=\d+ dport=(\d+)/.exec(line)?.slice(1, 4) ?? []),
  );
  execFileSync("conntrack", ["-F"], { stdio: "ignore" });
  return left;
}

const many = Array.from({ length: 20 }, (_, index) => `10.65.1.${index}`);
const result = {
  few4: leftAfter(["10.65.0.1", "10.65.0.2"], ["10.65.9.1", "10.65.9.2"]),
  few6: leftAfter(["fd65::1"], ["fd65:9::1", "fd65:9::2"]),
  many4: leftAfter(many, ["10.65.9.1", "10.65.9.2"]),
  many6: leftAfter(
    many.map((_, index) => `fd65:1::${index}`),
    ["fd65:9::1", "fd65:9::2"],
  ),
};
process.stdout.write(JSON.stringify(result), () => process.exit(0));
