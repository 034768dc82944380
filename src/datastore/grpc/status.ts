/** gRPC's status codes and the error that carries one. */

/** https://github.com/grpc/grpc/blob/master/doc/statuscodes.md */
export const Code = {
  Canceled: 1,
  Unknown: 2,
  InvalidArgument: 3,
  DeadlineExceeded: 4,
  NotFound: 5,
  AlreadyExists: 6,
  PermissionDenied: 7,
  ResourceExhausted: 8,
  FailedPrecondition: 9,
  Aborted: 10,
  OutOfRange: 11,
  Unimplemented: 12,
  Internal: 13,
  Unavailable: 14,
  DataLoss: 15,
  Unauthenticated: 16,
} as const;
export type Code = (typeof Code)[keyof typeof Code];

const names = new Map<number, string>(Object.entries(Code).map(([name, code]) => [code, name]));

export class RpcError extends Error {
  readonly code: Code;

  constructor(code: Code, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = "RpcError";
    this.code = code;
  }
}

export function codeName(code: Code): string {
  return names.get(code) ?? String(code);
}

/** The header or trailer fields of a status, as they are on the wire. */
export function statusFields(code: number, message: string): Record<string, string> {
  return { "grpc-status": String(code), "grpc-message": encodeMessage(message) };
}

type Fields = Readonly<Record<string, string | string[] | number | undefined>>;

/** Undefined when the fields hold no status; null for OK. */
export function readStatus(fields: Fields): RpcError | null | undefined {
  const text = fields["grpc-status"];
  if (text === undefined) return undefined;
  const code = Number(text);
  if (code === 0) return null;
  const message = decodeMessage(String(fields["grpc-message"] ?? ""));
  return new RpcError(names.has(code) ? (code as Code) : Code.Unknown, message);
}

/** Percent-encodes all but printable ASCII, and the percent sign itself. */
function encodeMessage(text: string): string {
  let encoded = "";
  for (const byte of Buffer.from(text, "utf8")) {
    const plain = byte >= 0x20 && byte <= 0x7e && byte !== 0x25;
    encoded += plain
      ? String.fromCodePoint(byte)
      : `%${byte.toString(16).toUpperCase().padStart(2, "0")}`;
  }
  return encoded;
}

function decodeMessage(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
