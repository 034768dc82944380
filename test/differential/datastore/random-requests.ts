/** Random etcd requests over a handful of keys, so that they meet each other; the seed decides all. */
import type { MessageInitShape } from "@bufbuild/protobuf";
import type {
  Compare_CompareResult,
  Compare_CompareTarget,
  CompareSchema,
  DeleteRangeRequestSchema,
  PutRequestSchema,
  RangeRequest_SortOrder,
  RangeRequest_SortTarget,
  RangeRequestSchema,
  RequestOpSchema,
  TxnRequestSchema,
} from "../../../src/datastore/etcd/proto/rpc_pb.ts";

export class RequestGenerator {
  private state: number;

  constructor(seed: number) {
    this.state = seed;
  }

  /** Mulberry32: 0 ≤ x < n. */
  below(n: number): number {
    this.state = (this.state + 0x6d2b79f5) | 0;
    let t = Math.imul(this.state ^ (this.state >>> 15), 1 | this.state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % n;
  }

  pick<T>(items: readonly T[]): T {
    return items[this.below(items.length)] as T;
  }

  chance(percent: number): boolean {
    return this.below(100) < percent;
  }

  key(): Uint8Array {
    const names = ["a", "b", "c", "aa", "ab", "a\0", "b\xff", "zz"];
    return this.chance(2) ? new Uint8Array(0) : Buffer.from(this.pick(names), "latin1");
  }

  rangeEnd(): Uint8Array {
    return Buffer.from(this.pick(["", "", "", "\0", "b", "ab", "c", "zzz", "a"]), "latin1");
  }

  lease(): bigint {
    return this.chance(80) ? 0n : BigInt(this.pick([11, 12, 13, 99]));
  }

  put(): MessageInitShape<typeof PutRequestSchema> {
    const ignoreValue = this.chance(8);
    const ignoreLease = this.chance(8);
    return {
      key: this.key(),
      value: ignoreValue && this.chance(80) ? new Uint8Array(0) : this.value(),
      lease: ignoreLease && this.chance(80) ? 0n : this.lease(),
      prevKv: this.chance(40),
      ignoreValue,
      ignoreLease,
    };
  }

  range(current: number): MessageInitShape<typeof RangeRequestSchema> {
    const byKey = this.chance(70);
    const revision = () => (this.chance(25) ? BigInt(this.below(current + 3)) : 0n);
    return {
      key: this.key(),
      rangeEnd: this.rangeEnd(),
      revision: revision(),
      // Equal elements of another order than the key's come in any sequence: no limit there.
      limit: byKey && this.chance(50) ? BigInt(this.below(4)) : 0n,
      sortTarget: (byKey ? 0 : this.below(5)) as RangeRequest_SortTarget,
      sortOrder: this.below(3) as RangeRequest_SortOrder,
      keysOnly: this.chance(20),
      countOnly: this.chance(10),
      serializable: this.chance(20),
      minModRevision: this.chance(10) ? revision() : 0n,
      maxModRevision: this.chance(10) ? revision() : 0n,
      minCreateRevision: this.chance(10) ? revision() : 0n,
      maxCreateRevision: this.chance(10) ? revision() : 0n,
    };
  }

  deleteRange(): MessageInitShape<typeof DeleteRangeRequestSchema> {
    return { key: this.key(), rangeEnd: this.rangeEnd(), prevKv: this.chance(40) };
  }

  txn(current: number, depth = 0): MessageInitShape<typeof TxnRequestSchema> {
    const many = <T>(max: number, make: () => T) =>
      Array.from({ length: this.below(max + 1) }, make);
    return {
      compare: many(2, () => this.compare(current)),
      success: many(3, () => this.op(current, depth)),
      failure: many(3, () => this.op(current, depth)),
    };
  }

  private value(): Uint8Array {
    return Buffer.from(this.pick(["", "1", "2", "long ".repeat(20)]) + String(this.below(4)));
  }

  private op(current: number, depth: number): MessageInitShape<typeof RequestOpSchema> {
    switch (this.below(depth < 2 ? 10 : 8)) {
      case 0:
      case 1:
        return { request: { case: "requestRange", value: this.range(current) } };
      case 2:
      case 3:
        return { request: { case: "requestDeleteRange", value: this.deleteRange() } };
      case 8:
      case 9:
        return { request: { case: "requestTxn", value: this.txn(current, depth + 1) } };
      default:
        return { request: { case: "requestPut", value: this.put() } };
    }
  }

  private compare(current: number): MessageInitShape<typeof CompareSchema> {
    const target = this.below(5);
    const revision = () => BigInt(this.chance(50) ? 0 : this.below(current + 2));
    const unions = [
      { case: "version" as const, value: BigInt(this.below(4)) },
      { case: "createRevision" as const, value: revision() },
      { case: "modRevision" as const, value: revision() },
      { case: "value" as const, value: this.value() },
      { case: "lease" as const, value: this.lease() },
    ];
    return {
      key: this.key(),
      rangeEnd: this.chance(20) ? this.rangeEnd() : new Uint8Array(0),
      result: this.below(4) as Compare_CompareResult,
      target: target as Compare_CompareTarget,
      targetUnion: this.chance(95) ? unions[target]! : this.pick(unions),
    };
  }
}
