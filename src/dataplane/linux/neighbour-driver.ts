/**
 * Permanent neighbour entries (ARP, NDP) for workloads whose MAC is declared, and for the far ends of
 * tunnels, so that the host need not ask for it. Ours are those that carry our protocol number
 * (NDA_PROTOCOL), and all permanent ones on our own devices.
 */
import { formatIp, tryParseMac, type Ip, type Mac } from "#ip";
import {
  NUD_PERMANENT,
  refusalError,
  type Neighbour,
  type RouteChange,
  type RouteKernel,
} from "#netlink";
import { DeltaTracker, MultiMap } from "#std";
import { NOTHING_DONE, type DriverResult } from "./driver.ts";

export class NeighbourDriver {
  readonly #kernel: RouteKernel;
  readonly #protocol: number;
  readonly #isOwnDevice: (ifindex: number) => boolean;
  readonly #tracker = new DeltaTracker<string, Neighbour>({ equal: (a, b) => a.mac === b.mac });
  readonly #actualKeysByInterface = new MultiMap<number, string>();
  readonly #desiredKeys = new Map<string, string>();

  constructor(
    kernel: RouteKernel,
    protocol: number,
    isOwnDevice: (ifindex: number) => boolean = () => false,
  ) {
    this.#kernel = kernel;
    this.#protocol = protocol;
    this.#isOwnDevice = isOwnDevice;
  }

  /** `mac` undefined or not one: no entry of ours. */
  set(address: Ip, ifindex: number | undefined, mac: string | undefined): void {
    const text = formatIp(address);
    const parsed: Mac | undefined = mac === undefined ? undefined : tryParseMac(mac);
    const before = this.#desiredKeys.get(text);
    if (ifindex === undefined || parsed === undefined) {
      if (before !== undefined) this.#tracker.deleteDesired(before);
      this.#desiredKeys.delete(text);
      return;
    }
    const neighbour: Neighbour = {
      ifindex,
      address,
      mac: parsed,
      state: NUD_PERMANENT,
      protocol: this.#protocol,
    };
    const key = neighbourKey(neighbour);
    if (before !== undefined && before !== key) this.#tracker.deleteDesired(before);
    this.#desiredKeys.set(text, key);
    this.#tracker.setDesired(key, neighbour);
  }

  /** The interface went down or away, and its entries with it. */
  forgetInterface(ifindex: number): void {
    for (const key of this.#actualKeysByInterface.get(ifindex)) this.#tracker.deleteActual(key);
    this.#actualKeysByInterface.deleteKey(ifindex);
  }

  resync(): void {
    this.#actualKeysByInterface.clear();
    const found: [string, Neighbour][] = [];
    for (const family of [4, 6] as const) {
      for (const neighbour of this.#kernel.neighbours(family)) {
        if (!this.#isOurs(neighbour)) continue;
        const key = neighbourKey(neighbour);
        found.push([key, neighbour]);
        this.#actualKeysByInterface.add(neighbour.ifindex, key);
      }
    }
    this.#tracker.replaceActual(found);
  }

  /** What somebody changed on our own devices; interfaces of workloads take theirs with them. */
  observe(neighbour: Neighbour, present: boolean): void {
    if (!this.#isOwnDevice(neighbour.ifindex)) return;
    const key = neighbourKey(neighbour);
    if (present && this.#isOurs(neighbour)) {
      this.#tracker.setActual(key, neighbour);
      this.#actualKeysByInterface.add(neighbour.ifindex, key);
    } else {
      this.#tracker.deleteActual(key);
      this.#actualKeysByInterface.delete(neighbour.ifindex, key);
    }
  }

  #isOurs({ ifindex, protocol, state }: Neighbour): boolean {
    if (state !== NUD_PERMANENT) return false;
    return protocol === this.#protocol || this.#isOwnDevice(ifindex);
  }

  get dirty(): boolean {
    return !this.#tracker.inSync;
  }

  apply(): DriverResult {
    if (this.#tracker.inSync) return NOTHING_DONE;
    const changes: RouteChange[] = [];
    for (const neighbour of this.#tracker.pendingUpdates.values()) {
      changes.push({ kind: "replaceNeighbour", neighbour });
    }
    for (const key of this.#tracker.pendingDeletions) {
      const neighbour = this.#tracker.actual.get(key);
      if (neighbour !== undefined) changes.push({ kind: "deleteNeighbour", neighbour });
    }
    const refusals = this.#kernel.write(changes);
    const errors: Error[] = [];
    for (const [index, change] of changes.entries()) {
      if (change.kind !== "replaceNeighbour" && change.kind !== "deleteNeighbour") continue;
      const { neighbour } = change;
      const key = neighbourKey(neighbour);
      const deletion = change.kind === "deleteNeighbour";
      const refusal = refusals.get(index);
      // A deletion that finds nothing has what it wants.
      const gone = deletion && refusal !== undefined && GONE.has(refusal.errno);
      if (refusal !== undefined && !gone) {
        const verb = deletion ? "delete" : "set";
        errors.push(refusalError(`${verb} neighbour ${formatIp(neighbour.address)}`, refusal));
      } else if (deletion) {
        this.#tracker.deleteActual(key);
        this.#actualKeysByInterface.delete(neighbour.ifindex, key);
      } else {
        this.#tracker.setActual(key, neighbour);
        this.#actualKeysByInterface.add(neighbour.ifindex, key);
      }
    }
    return { writes: changes.length - errors.length, errors };
  }
}

const GONE: ReadonlySet<string> = new Set(["ENOENT", "ENODEV", "ENXIO", "ESRCH"]);

function neighbourKey({ ifindex, address }: Neighbour): string {
  return `${ifindex} ${formatIp(address)}`;
}
