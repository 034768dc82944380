/** An answer in words, for people, and as data, for programs. */
import { formatIp } from "#ip";
import {
  describePacket,
  explain,
  protocolText,
  type Direction,
  type Evaluation,
  type ForwardReason,
  type Rule,
  type RuleTrace,
  type TraceStep,
} from "#policy";
import type { End } from "./ends.ts";
import type { FlowAnswer, NodeAnswer } from "./evaluate-flow.ts";
import { conditionText } from "./rule-text.ts";

const REASONS: Readonly<Record<ForwardReason, string>> = {
  allowed: "nothing denies it",
  "egress-denied": "the sender's egress policy",
  "ingress-denied": "the receiver's ingress policy",
  "tunnel-from-workload": "workloads may not send packets of tunnels",
  "endpoint-to-host-action": "defaultEndpointToHostAction of workloads that talk to their node",
  "always-allowed-icmpv6": "a workload needs this ICMPv6 message to use its node as router",
};

export function answerText(answer: FlowAnswer): string {
  const { packet, from, to, verdict, nodes, notes } = answer;
  const lines = [describePacket(packet), `from  ${endText(from)}`, `to    ${endText(to)}`];
  for (const part of partsOf(answer)) {
    const { node, direction, name, evaluation } = part;
    lines.push("", `${direction} of ${name}, on ${node}: ${evaluation.verdict}`);
    const said = explain(evaluation);
    for (const [index, step] of evaluation.trace.entries()) {
      lines.push(`  ${said[index] ?? ""}`);
      for (const rule of rulesOf(step)) lines.push(`    ${ruleText(part, step, rule)}`);
    }
  }
  if (notes.length > 0) lines.push("", ...notes.map((note) => `note: ${note}`));
  const last = nodes.at(-1);
  const why = last === undefined ? "" : ` (${REASONS[last.evaluation.reason]}, on ${last.node})`;
  return `${[...lines, "", `verdict: ${verdict}${why}`].join("\n")}\n`;
}

export function answerJson(answer: FlowAnswer): string {
  const { packet, from, to, verdict, nodes, notes } = answer;
  const { src, dst, protocol, ...rest } = packet;
  const parts = partsOf(answer);
  const document = {
    verdict,
    packet: { ...rest, protocol: protocolText(protocol), src: formatIp(src), dst: formatIp(dst) },
    from: endData(from),
    to: endData(to),
    nodes: nodes.map(({ node, evaluation }) => ({
      node,
      verdict: evaluation.verdict,
      reason: evaluation.reason,
      parts: parts.filter((part) => part.node === node).map(partData),
    })),
    notes,
  };
  return `${JSON.stringify(document, undefined, 2)}\n`;
}

/** One endpoint's policy in one direction. */
interface Part {
  readonly node: string;
  readonly direction: Direction;
  readonly name: string;
  readonly evaluation: Evaluation;
  readonly lookups: NodeAnswer["state"]["policies"];
}

function partsOf({ nodes, from, to }: FlowAnswer): Part[] {
  return nodes.flatMap(({ node, state, evaluation: { egress, ingress } }) => {
    const base = { node, lookups: state.policies };
    const parts: Part[] = [];
    if (egress) parts.push({ ...base, direction: "egress", name: from.name, evaluation: egress });
    if (ingress) parts.push({ ...base, direction: "ingress", name: to.name, evaluation: ingress });
    return parts;
  });
}

function endText(end: End): string {
  if (end.kind === "outside") return `${end.name} (outside the cluster)`;
  const floating =
    end.kind === "workload" && end.floating
      ? `, floating address ${end.floating.external} of ${end.floating.internal}`
      : "";
  return `${end.name} (${end.kind === "host" ? "node" : "workload on"} ${end.node}${floating})`;
}

function endData(end: End): unknown {
  const { kind, name } = end;
  return kind === "outside" ? { kind, name } : { kind, name, node: end.node };
}

function partData(part: Part): unknown {
  const { direction, name, evaluation } = part;
  const said = explain(evaluation);
  return {
    direction,
    endpoint: name,
    verdict: evaluation.verdict,
    trace: evaluation.trace.map((step, index) => ({
      ...step,
      ...("rules" in step
        ? {
            rules: step.rules.map((rule) => ({
              ...rule,
              conditions: conditions(part, step, rule),
            })),
          }
        : {}),
      text: said[index],
    })),
  };
}

function rulesOf(step: TraceStep): readonly RuleTrace[] {
  return "rules" in step ? step.rules : [];
}

function ruleText(part: Part, step: TraceStep, trace: RuleTrace): string {
  const said = conditions(part, step, trace);
  const { index, action, match } = trace;
  const head = `rule ${index}, ${action === "next-tier" ? "pass" : action}:`;
  if (match.matched === true) return `${head} matches ${said.join(" and ") || "everything"}`;
  if (match.matched === false) return `${head} does not match ${said.join(" and ")}`;
  return `${head} cannot be decided by ${said.join(" and ")}`;
}

/** What held, or the first that did not. */
function conditions(part: Part, step: TraceStep, { index, match }: RuleTrace): string[] {
  const rule = ruleOf(part, step, index);
  if (rule === undefined) return [];
  if (match.matched === true) return match.fields.map((field) => conditionText(rule, field));
  return [conditionText(rule, match.matched === false ? match.failed : match.field)];
}

function ruleOf(part: Part, step: TraceStep, index: number): Rule | undefined {
  const { lookups, direction } = part;
  const found =
    step.step === "policy"
      ? lookups.policy(step.policy)
      : step.step === "profile"
        ? lookups.profile(step.profile)
        : undefined;
  return direction === "ingress" ? found?.inboundRules[index] : found?.outboundRules[index];
}
