/**
 * The policies, profiles and IP sets of one host, as messages bring them: the look-ups of
 * `evaluate`. A later message replaces an earlier one about the same object.
 */
import { IpSetIndex, type IpSetMembers } from "./ip-sets.ts";
import type { PolicyLookups } from "./evaluate.ts";
import type { IpSetId, Policy, PolicyId, Profile } from "./types.ts";

export class PolicyState implements PolicyLookups {
  readonly ipSets = new IpSetIndex();
  readonly #policies = new Map<string, Policy>();
  readonly #profiles = new Map<string, Profile>();

  setPolicy(id: PolicyId, policy: Policy): void {
    this.#policies.set(policyKey(id), policy);
  }

  removePolicy(id: PolicyId): void {
    this.#policies.delete(policyKey(id));
  }

  setProfile(name: string, profile: Profile): void {
    this.#profiles.set(name, profile);
  }

  removeProfile(name: string): void {
    this.#profiles.delete(name);
  }

  policy(id: PolicyId): Policy | undefined {
    return this.#policies.get(policyKey(id));
  }

  profile(name: string): Profile | undefined {
    return this.#profiles.get(name);
  }

  readonly ipSet = (id: IpSetId): IpSetMembers | undefined => this.ipSets.get(id);
}

/** Unique text of a policy's identity, for maps: names hold no slash. */
export function policyKey(id: PolicyId): string {
  return `${id.kind}/${id.namespace}/${id.name}`;
}
