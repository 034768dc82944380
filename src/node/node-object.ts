/** Changes of this node's object that keep what others write into it at the same time. */
import type { Client } from "#ctl";
import { API_VERSION, type Node, type NodeSpec } from "#resource";
import { MargayError } from "#std";

const ATTEMPTS = 10;

/** `change` is asked again when somebody else was faster. Resolves with what is stored. */
export async function updateNode(
  client: Client,
  name: string,
  change: (spec: NodeSpec) => NodeSpec,
): Promise<Node> {
  for (let left = ATTEMPTS; ; left--) {
    const found = await client.find("Node", name);
    try {
      if (found === undefined) {
        return await client.create<Node>({
          kind: "Node",
          apiVersion: API_VERSION,
          metadata: { name },
          spec: change({}),
        });
      }
      return (await client.update<Node>({ ...found, spec: change(found.spec) })).resource;
    } catch (error) {
      const code = error instanceof MargayError ? error.code : "";
      const lostRace = ["conflict", "already-exists", "not-found"].includes(code);
      if (!lostRace || left <= 1) throw error;
    }
  }
}

/** With these fields of `bgp` set, or removed where undefined; no `bgp` when nothing is left of it. */
export function withBgp(
  spec: NodeSpec,
  fields: { readonly [K in keyof NonNullable<NodeSpec["bgp"]>]: string | number | undefined },
): NodeSpec {
  const { bgp, ...rest } = spec;
  const merged = Object.fromEntries(
    Object.entries({ ...bgp, ...fields }).filter(([, value]) => value !== undefined),
  );
  return Object.keys(merged).length === 0 ? rest : { ...rest, bgp: merged };
}
