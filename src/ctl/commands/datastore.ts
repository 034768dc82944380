/** Loads the server's code only for the command that serves. */
export async function datastoreCommand(argv: readonly string[]): Promise<number> {
  const { datastoreCommand: serve } = await import("../datastore-command.ts");
  return await serve(argv);
}
