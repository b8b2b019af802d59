// Packs the extension with one `mirror` executable inside: node scripts/package.mjs MIRROR OUT.vsix
//
// The packed manifest is package.json with the launch attribute for every debugger, without what only development needs.

import { chmodSync, copyFileSync, cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

import { createVSIX } from "@vscode/vsce";

import { debuggers } from "./debuggers.mjs";

const [mirror, out] = process.argv.slice(2);
if (out === undefined) {
  throw new Error("usage: node scripts/package.mjs MIRROR OUT.vsix");
}
const source = join(dirname(fileURLToPath(import.meta.url)), "..");
const stage = `${resolve(out)}.stage`;
rmSync(stage, { recursive: true, force: true });
mkdirSync(join(stage, "bin"), { recursive: true });
mkdirSync(join(stage, "dist"));
for (const part of ["README.md", "images", "walkthrough", "language-configuration.json", "mirror-config.tmLanguage.json"]) {
  cpSync(join(source, part), join(stage, part), { recursive: true });
}
copyFileSync(join(source, "dist/extension.js"), join(stage, "dist/extension.js"));
copyFileSync(mirror, join(stage, "bin/mirror"));
chmodSync(join(stage, "bin/mirror"), 0o755);
const manifest = JSON.parse(readFileSync(join(source, "package.json"), "utf8"));
["dependencies", "devDependencies", "scripts", "private"].forEach((key) => delete manifest[key]);
manifest.contributes.debuggers = debuggers;
writeFileSync(join(stage, "package.json"), JSON.stringify(manifest, null, 2));
await createVSIX({
  cwd: stage,
  packagePath: resolve(out),
  target: "linux-x64",
  dependencies: false,
  allowMissingRepository: true,
  skipLicense: true,
});
rmSync(stage, { recursive: true, force: true });
