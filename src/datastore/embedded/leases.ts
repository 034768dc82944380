/** etcd's lease requests on the embedded store. */
import { create } from "@bufbuild/protobuf";
import { faultError, FAULTS } from "../etcd/errors.ts";
import {
  LeaseGrantResponseSchema,
  LeaseKeepAliveResponseSchema,
  LeaseLeasesResponseSchema,
  LeaseRevokeResponseSchema,
  LeaseStatusSchema,
  LeaseTimeToLiveResponseSchema,
  type LeaseGrantRequest,
  type LeaseGrantResponse,
  type LeaseKeepAliveRequest,
  type LeaseKeepAliveResponse,
  type LeaseLeasesResponse,
  type LeaseRevokeRequest,
  type LeaseRevokeResponse,
  type LeaseTimeToLiveRequest,
  type LeaseTimeToLiveResponse,
  type ResponseHeader,
} from "../etcd/proto/rpc_pb.ts";
import type { CommitQueue } from "./commit-queue.ts";
import type { Database } from "./database.ts";
import { Lessor } from "./lessor.ts";
import { leaseExists } from "./requests.ts";
import type { MvccStore } from "./store.ts";

/** etcd's shortest lease with its default election timeout: a keep-alive has time to arrive. */
const MIN_TTL_S = 2;
const MAX_TTL_S = 9_000_000_000n;

interface LeaseParts {
  readonly db: Database;
  readonly queue: CommitQueue;
  readonly store: MvccStore;
  readonly header: () => ResponseHeader;
}

export class Leases {
  private readonly parts: LeaseParts;
  private readonly lessor: Lessor;

  constructor(parts: LeaseParts) {
    this.parts = parts;
    this.lessor = new Lessor(async (id) => {
      await this.remove(id);
    });
    for (const row of parts.db.prepare("SELECT id, ttl FROM lease").all()) {
      this.lessor.add(BigInt(String(row["id"])), Number(row["ttl"]));
    }
  }

  async grant(request: LeaseGrantRequest): Promise<LeaseGrantResponse> {
    if (request.TTL > MAX_TTL_S) throw faultError(FAULTS.leaseTtlTooLarge);
    const { db, queue, header } = this.parts;
    const id = request.ID === 0n ? this.lessor.freeId() : request.ID;
    const ttl = Math.max(Number(request.TTL), MIN_TTL_S);
    await queue.write(() => {
      if (leaseExists(db, id)) throw faultError(FAULTS.leaseExists);
      db.prepare("INSERT INTO lease (id, ttl) VALUES (?, ?)").run(id.toString(), ttl);
      return { result: undefined, events: [], changed: true };
    });
    this.lessor.add(id, ttl);
    return create(LeaseGrantResponseSchema, { header: header(), ID: id, TTL: BigInt(ttl) });
  }

  async revoke(request: LeaseRevokeRequest): Promise<LeaseRevokeResponse> {
    await this.remove(request.ID);
    return create(LeaseRevokeResponseSchema, { header: this.parts.header() });
  }

  /** A TTL of 0 says that there is no such lease. */
  async keepAlive(request: LeaseKeepAliveRequest): Promise<LeaseKeepAliveResponse> {
    const ttl = this.lessor.renew(request.ID) ?? 0;
    return create(LeaseKeepAliveResponseSchema, {
      header: this.parts.header(),
      ID: request.ID,
      TTL: BigInt(ttl),
    });
  }

  /** A TTL of -1 says that there is no such lease. */
  timeToLive(request: LeaseTimeToLiveRequest): Promise<LeaseTimeToLiveResponse> {
    const { queue, store, header } = this.parts;
    return queue.read(() => {
      const response = create(LeaseTimeToLiveResponseSchema, { header: header(), ID: request.ID });
      const lease = this.lessor.get(request.ID);
      response.TTL = lease === undefined ? -1n : BigInt(this.lessor.remaining(lease));
      response.grantedTTL = BigInt(lease?.ttl ?? 0);
      if (request.keys && lease !== undefined) response.keys = store.keysOfLease(request.ID);
      return response;
    });
  }

  async list(): Promise<LeaseLeasesResponse> {
    const leases = this.lessor.list().map(({ id }) => create(LeaseStatusSchema, { ID: id }));
    return create(LeaseLeasesResponseSchema, { header: this.parts.header(), leases });
  }

  close(): void {
    this.lessor.close();
  }

  /** Its keys go with it, in one revision. */
  private async remove(id: bigint): Promise<void> {
    const { db, queue, store } = this.parts;
    await queue.write(() => {
      if (!leaseExists(db, id)) throw faultError(FAULTS.leaseNotFound);
      db.prepare("DELETE FROM lease WHERE id = ?").run(id.toString());
      const revision = store.revision + 1;
      const events = store
        .keysOfLease(id)
        .flatMap((key) => store.deleteRange(revision, { key, end: undefined }));
      return { result: undefined, events, changed: true };
    });
    this.lessor.remove(id);
  }
}
