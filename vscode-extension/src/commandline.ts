// Command line of a task of type `mirror`. Knows nothing of VS Code.

import type { Picked } from "./memory";
import type { Traffic } from "./rpc";

/** What a task of type `mirror` says in tasks.json. */
export interface Definition {
  command: string;
  args?: string[];
  config?: string;
  target?: string;
  traffic?: Traffic;
}

/** Arguments of `mirror`, and the variables that go with them. The task's own target wins over the one that was picked. */
export function commandLine(definition: Definition, picked: Picked | undefined): { words: string[]; env: Record<string, string> } {
  const { command, args = [], config, target, traffic } = definition;
  const place = target === undefined ? picked?.place : undefined;
  const options: [string, string | undefined][] = [
    ["--config", config],
    ["--target", target ?? picked?.target],
    ["--container", target === undefined ? picked?.container : undefined],
    ["--kubeconfig", place?.kubeconfig],
    ["--context", place?.context],
    ["--namespace", place?.namespace],
  ];
  const given = options.flatMap(([name, value]) => (value === undefined ? [] : [name, value]));
  const env = traffic === undefined ? {} : { MIRROR_NETWORK_INCOMING_MODE: traffic };
  return { words: ["exec", ...given, "--", command, ...args], env };
}
