// Bundles the extension, or its unit tests with `--tests`.

import { readdirSync, rmSync } from "node:fs";

import { build } from "esbuild";

const shared = { bundle: true, platform: "node", format: "cjs", target: "node20", sourcemap: true, external: ["vscode"] };

if (process.argv.includes("--tests")) {
  rmSync("dist-test", { recursive: true, force: true });
  const entryPoints = readdirSync("test").map((file) => `test/${file}`);
  await build({ ...shared, entryPoints, outdir: "dist-test" });
} else {
  rmSync("dist", { recursive: true, force: true });
  await build({ ...shared, entryPoints: ["src/extension.ts"], outdir: "dist", minify: true });
}
