// The launch attribute `mirror`: `true`, a path, or an object. Knows nothing of VS Code.

import type { Traffic } from "./rpc";

/** What a launch configuration says about mirror. */
export interface Wish {
  config?: string;
  target?: string;
  container?: string;
  kubeconfig?: string;
  context?: string;
  namespace?: string;
  traffic?: Traffic;
}

/** The keys whose values are texts. */
const TEXTS = ["config", "target", "container", "kubeconfig", "context", "namespace"] as const;

/** `undefined`: nothing is said; `false`: plainly without; `string`: what is wrong; else what is wished for. */
export type Reading = { wish: Wish | false | undefined } | { wrong: string };

/** Reads the attribute. */
export function readAttribute(value: unknown): Reading {
  if (value === undefined || value === null) {
    return { wish: undefined };
  }
  if (typeof value === "boolean") {
    return { wish: value ? {} : false };
  }
  if (typeof value === "string") {
    return value === "" ? { wrong: "`mirror` is an empty path" } : { wish: { config: value } };
  }
  if (typeof value !== "object" || Array.isArray(value)) {
    return { wrong: "`mirror` must be true, false, the path of a configuration file, or an object" };
  }
  return readObject(value as Record<string, unknown>);
}

function readObject(value: Record<string, unknown>): Reading {
  const wish: Wish = {};
  for (const [key, said] of Object.entries(value)) {
    const text = TEXTS.find((name) => name === key);
    if (text !== undefined) {
      if (typeof said !== "string" || said === "") {
        return { wrong: `\`mirror.${key}\` must be a text` };
      }
      wish[text] = said;
    } else if (key === "traffic") {
      if (said !== "off" && said !== "mirror" && said !== "steal") {
        return { wrong: "`mirror.traffic` must be off, mirror or steal" };
      }
      wish.traffic = said;
    } else if (key !== "enabled") {
      return { wrong: `\`mirror.${key}\` is not known; known are enabled, ${TEXTS.join(", ")}, traffic` };
    } else if (typeof said !== "boolean") {
      return { wrong: "`mirror.enabled` must be true or false" };
    }
  }
  return { wish: value["enabled"] === false ? false : wish };
}

/** Said of what asks for mirror, and attaches. */
export const ONLY_LAUNCHES = "only launches can go with mirror, not attach";

/** What a launch does. */
export type Decision = { kind: "plain" } | { kind: "wrong"; message: string } | { kind: "mirror"; wish: Wish };

/**
 * Whether a launch goes with mirror: the attribute has the word, except that the command "with mirror" overrules its
 * `false`; the switch counts where it says nothing.
 */
export function decide(configuration: Record<string, unknown>, asked: boolean, switchedOn: boolean): Decision {
  const reading = readAttribute(configuration["mirror"]);
  if (configuration["request"] !== "launch") {
    // Children of debuggers attach, too: they do not carry the attribute, and stay what they are.
    return "wish" in reading && reading.wish ? { kind: "wrong", message: ONLY_LAUNCHES } : { kind: "plain" };
  }
  if ("wrong" in reading) {
    return { kind: "wrong", message: reading.wrong };
  }
  if (reading.wish) {
    return { kind: "mirror", wish: reading.wish };
  }
  const goes = asked || (switchedOn && reading.wish === undefined);
  return goes ? { kind: "mirror", wish: {} } : { kind: "plain" };
}
