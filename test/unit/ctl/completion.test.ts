/** Completion scripts, run by a real bash. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { test } from "node:test";
import { completionScript } from "#ctl";

const COMMANDS = ["apply", "delete", "get", "policy"];

/** What bash would offer for these words; the last is being typed. */
function offered(words: readonly string[]): string[] {
  const script = `${completionScript("bash", COMMANDS) ?? ""}
margay() { [ "$*" = "get np -n shop -o name" ] && printf 'networkpolicy/shop/db\\nnetworkpolicy/shop/web\\n'; }
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _margay; printf '%s\\n' "\${COMPREPLY[@]}"`;
  const out = execFileSync("bash", ["-c", script, "bash", ...words], { encoding: "utf8" });
  return out.split("\n").filter((line) => line !== "");
}

test("bash completes commands, kinds and names", () => {
  assert.deepEqual(offered(["margay", "p"]), ["policy"]);
  assert.deepEqual(offered(["margay", "get", "networks"]), ["networksets"]);
  assert.deepEqual(offered(["margay", "get", "np", "-n", "shop", ""]), ["db", "web"]);
  assert.deepEqual(offered(["margay", "delete", "np", "-n", "shop", "w"]), ["web"]);
  assert.deepEqual(offered(["margay", "get", "-f", ""]), []);
  assert.deepEqual(offered(["margay", "apply", "np"]), []);
});

test("zsh and fish have scripts of their own, other shells none", () => {
  assert.match(completionScript("zsh", COMMANDS) ?? "", /^#compdef margay\n/);
  assert.match(completionScript("fish", COMMANDS) ?? "", /-a "apply delete get policy"/);
  assert.equal(completionScript("csh", COMMANDS), undefined);
});
