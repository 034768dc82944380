/** An answer in words, for people, and as data, for programs. */
import { formatIp } from "#ip";
import {
  describePacket,
  explain,
  protocolText,
  type Direction,
  type Evaluation,
  type ForwardReason,
  type HostStage,
  type HostStageEvaluation,
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
  "host-denied": "policy of a host endpoint",
  failsafe: "a failsafe port, which no policy closes",
  "tunnel-from-workload": "workloads may not send packets of tunnels",
  "endpoint-to-host-action": "defaultEndpointToHostAction of workloads that talk to their node",
  "ipv6-off": "ipv6Support is off, so workloads have no IPv6",
  "openstack-service": "DHCP, DNS and metadata are open to workloads of OpenStack",
  "always-allowed-icmpv6": "a workload needs this ICMPv6 message to use its node as router",
};

export function answerText(answer: FlowAnswer): string {
  const { packet, from, to, verdict, nodes, notes } = answer;
  const lines = [describePacket(packet), `from  ${endText(from)}`, `to    ${endText(to)}`];
  for (const part of partsOf(answer)) {
    const { node, direction, name, evaluation } = part;
    lines.push("", `${part.title ?? direction} of ${name}, on ${node}: ${part.outcome}`);
    if (evaluation === undefined) continue;
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
  readonly outcome: string;
  /** Of a host endpoint: which policy of it. */
  readonly stage?: HostStage;
  readonly title?: string;
  /** Absent: policy was not asked. */
  readonly evaluation?: Evaluation;
  readonly lookups: NodeAnswer["state"]["policies"];
}

const BEFORE_WORKLOADS: ReadonlySet<HostStage> = new Set([
  "untracked-in",
  "pre-dnat",
  "forward-in",
]);
const STAGES: Readonly<
  Record<HostStage, { readonly title: string; readonly direction: Direction }>
> = {
  "untracked-in": { title: "untracked ingress", direction: "ingress" },
  "pre-dnat": { title: "pre-DNAT ingress", direction: "ingress" },
  "forward-in": { title: "ingress of forwarded packets", direction: "ingress" },
  input: { title: "ingress", direction: "ingress" },
  "untracked-out": { title: "untracked egress", direction: "egress" },
  "forward-out": { title: "egress of forwarded packets", direction: "egress" },
  output: { title: "egress", direction: "egress" },
};

/** In the packet's order. */
function partsOf({ nodes, from, to }: FlowAnswer): Part[] {
  return nodes.flatMap(({ node, state, evaluation: { egress, ingress, host } }) => {
    const base = { node, lookups: state.policies };
    const stages = host.map((said): Part => ({
      ...base,
      ...STAGES[said.stage],
      ...hostPart(said),
    }));
    const isBefore = ({ stage }: Part): boolean =>
      stage !== undefined && BEFORE_WORKLOADS.has(stage);
    const parts = stages.filter(isBefore);
    const asked = (direction: Direction, name: string, evaluation: Evaluation): void => {
      parts.push({ ...base, direction, name, outcome: evaluation.verdict, evaluation });
    };
    if (egress) asked("egress", from.name, egress);
    if (ingress) asked("ingress", to.name, ingress);
    return [...parts, ...stages.filter((part) => !isBefore(part))];
  });
}

function hostPart({ stage, endpoint, outcome, evaluation }: HostStageEvaluation) {
  const name = `host endpoint ${endpoint}`;
  const decided = outcome === "pass" ? "nothing decided" : outcome;
  return { stage, name, outcome: decided, ...(evaluation === undefined ? {} : { evaluation }) };
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
  const { direction, name, outcome, stage, evaluation } = part;
  const said = evaluation === undefined ? [] : explain(evaluation);
  return {
    direction,
    ...(stage === undefined ? {} : { stage }),
    endpoint: name,
    verdict: outcome,
    trace: (evaluation?.trace ?? []).map((step, index) => ({
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
