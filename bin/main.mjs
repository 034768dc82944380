// JavaScript, so that the compile cache is on before the first TypeScript file is read: then types
// are stripped once per change of a file, and the stripper itself (20 MB resident) is not loaded.
import { enableCompileCache } from "node:module";

enableCompileCache();
await import("../src/main.ts");
