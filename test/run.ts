/**
 * The test runner: runs the tiers in order, each test file in a process of its own (unit and state
 * share one), prints every skipped test with its reason and fails on a skip that is not listed in
 * `test/allowed-skips.json`, on a tier without tests, and on a failure.
 *
 *   node test/run.ts [tier…]      MARGAY_TEST_LONG=1 for the long run
 */
import { globSync, readFileSync } from "node:fs";
import { run } from "node:test";

interface Tier {
  readonly name: string;
  readonly proves: string;
  readonly isolation: "none" | "process";
  readonly concurrency: number;
}

const TIERS: readonly Tier[] = [
  {
    name: "unit",
    proves: "codecs, selectors, IP maths, rendering",
    isolation: "process",
    concurrency: 2,
  },
  {
    name: "state",
    proves: "the graph: end state from any path",
    isolation: "process",
    concurrency: 2,
  },
  {
    name: "contract",
    proves: "real and fake behind one port",
    isolation: "process",
    concurrency: 2,
  },
  { name: "netns", proves: "the real kernel", isolation: "process", concurrency: 2 },
  { name: "differential", proves: "evaluate = packets", isolation: "process", concurrency: 2 },
  { name: "lab", proves: "whole hosts", isolation: "process", concurrency: 2 },
  { name: "fault", proves: "what survives", isolation: "process", concurrency: 1 },
  {
    name: "emulated",
    proves: "a machine with another kernel, and without power",
    isolation: "process",
    concurrency: 2,
  },
];

/** Of a test file. The long run has ten times as many cases, and shares the machine. */
const FILE_LIMIT_MS = process.env["MARGAY_TEST_LONG"] === undefined ? 900_000 : 2_700_000;

interface Totals {
  passed: number;
  failed: number;
  skipped: { file: string; name: string; reason: string }[];
}

const wanted = process.argv.slice(2);
const unknown = wanted.filter((name) => !TIERS.some((tier) => tier.name === name));
if (unknown.length > 0) {
  process.stderr.write(
    `no such tier: ${unknown.join(", ")}; there are: ${TIERS.map((t) => t.name).join(" ")}\n`,
  );
  process.exit(2);
}

const allowedSkips = new Map(
  (
    JSON.parse(readFileSync(new URL("allowed-skips.json", import.meta.url), "utf8")) as {
      test: string;
      lacks: string;
    }[]
  ).map((skip) => [skip.test, skip.lacks]),
);

const totals: Totals = { passed: 0, failed: 0, skipped: [] };
const started = performance.now();
for (const tier of TIERS) {
  if (wanted.length > 0 && !wanted.includes(tier.name)) continue;
  await runTier(tier, totals);
}
report(totals);

async function runTier(tier: Tier, sum: Totals): Promise<void> {
  const files = globSync(`test/${tier.name}/**/*.test.ts`).toSorted();
  if (files.length === 0) {
    process.stdout.write(`# ${tier.name}: no test file\n`);
    sum.failed += 1;
    return;
  }
  const before = { passed: sum.passed, failed: sum.failed };
  const tierStarted = performance.now();
  const stream = run({
    files,
    isolation: tier.isolation,
    concurrency: tier.concurrency,
    timeout: FILE_LIMIT_MS,
  });
  for await (const event of stream) {
    const data = event.data as {
      name?: string;
      file?: string;
      details?: { type?: string; error?: Error };
      skip?: string | boolean;
      message?: string;
    };
    if (event.type === "test:pass" && data.details?.type !== "suite") {
      if (data.skip === undefined || data.skip === false) sum.passed += 1;
      else
        sum.skipped.push({
          file: data.file ?? "?",
          name: data.name ?? "?",
          reason: String(data.skip),
        });
    } else if (event.type === "test:fail" && data.details?.type !== "suite") {
      sum.failed += 1;
      const cause = data.details?.error?.cause ?? data.details?.error;
      process.stdout.write(
        `not ok ${data.file ?? ""} › ${data.name ?? ""}\n${indent(describe(cause))}\n`,
      );
    } else if (event.type === "test:stderr" && process.env["MARGAY_TEST_VERBOSE"] !== undefined) {
      process.stderr.write(data.message ?? "");
    }
  }
  const seconds = ((performance.now() - tierStarted) / 1000).toFixed(1);
  process.stdout.write(
    `# ${tier.name} (${tier.proves}): ${sum.passed - before.passed} passed, ${sum.failed - before.failed} failed, ${seconds} s\n`,
  );
}

function report(sum: Totals): void {
  for (const skip of sum.skipped) {
    const allowed = allowedSkips.get(skip.name);
    process.stdout.write(`skipped ${skip.file} › ${skip.name}: ${skip.reason}\n`);
    if (allowed === undefined) {
      process.stdout.write(`not ok this skip is not in test/allowed-skips.json: ${skip.name}\n`);
      sum.failed += 1;
    }
  }
  if (sum.passed === 0) sum.failed += 1;
  const seconds = ((performance.now() - started) / 1000).toFixed(0);
  process.stdout.write(
    `# ${seconds} s\n${sum.passed} passed, ${sum.failed} failed, ${sum.skipped.length} skipped\n`,
  );
  process.exitCode = sum.failed === 0 ? 0 : 1;
}

function describe(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}

function indent(text: string): string {
  return text.replaceAll(/^/gm, "    ");
}
