import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

interface Manifest {
  contributes: {
    commands: { command: string }[];
    menus: Record<string, { command: string }[]>;
    keybindings: { command: string }[];
    configuration: { properties: Record<string, unknown> };
  };
}

const { contributes } = JSON.parse(readFileSync("package.json", "utf8")) as Manifest;

test("commands are contributed, registered, and known to menus", () => {
  const contributed = contributes.commands.map(({ command }) => command);
  const source = readFileSync("src/commands.ts", "utf8");
  const registered = [...source.matchAll(/^ {2}"(mirror\.\w+)":/gm)].map(([, name]) => name);
  // What only lenses and the helper's actions call is not for the palette.
  const inner = ["mirror.byName", "mirror.pickTargetInto", "mirror.showText"];
  assert.deepEqual(registered.filter((name) => !inner.includes(name ?? "")).sort(), [...contributed].sort());
  const used = [...Object.values(contributes.menus).flat(), ...contributes.keybindings].map(({ command }) => command);
  assert.deepEqual(used.filter((command) => !contributed.includes(command)), []);
});

test("every setting stands in the README", () => {
  const readme = readFileSync("README.md", "utf8");
  const missing = Object.keys(contributes.configuration.properties).filter((name) => !readme.includes(`\`${name}\``));
  assert.deepEqual(missing, []);
});
