/** Reading variables. Absent and blank are the same: manifests often set a variable to nothing. */
import { inputError, type MargayError } from "#std";

export type Environment = Readonly<Record<string, string | undefined>>;

export function text(env: Environment, name: string): string | undefined {
  const value = (env[name] ?? "").trim();
  return value === "" ? undefined : value;
}

export function list(value: string): string[] {
  return value.split(",").flatMap((part) => (part.trim() === "" ? [] : [part.trim()]));
}

const YES = ["true", "1", "yes", "y", "t"];
const NO = ["false", "0", "no", "n", "f"];

export function flag(env: Environment, name: string, otherwise: boolean): boolean {
  const given = text(env, name)?.toLowerCase();
  if (given === undefined) return otherwise;
  if (YES.includes(given)) return true;
  if (NO.includes(given)) return false;
  throw badSetting(name, given, "true or false");
}

export function oneOf<T extends string>(
  env: Environment,
  name: string,
  values: Readonly<Record<string, T>>,
  otherwise: T,
): T {
  const given = text(env, name)?.toLowerCase();
  if (given === undefined) return otherwise;
  const value = Object.hasOwn(values, given) ? values[given] : undefined;
  if (value === undefined) throw badSetting(name, given, Object.keys(values).join(", "));
  return value;
}

export function badSetting(name: string, value: string, allowed: string): MargayError {
  return inputError("bad-setting", `${name}=${value}: expected ${allowed}`, { fields: { name } });
}
