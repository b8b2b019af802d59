// The launch attribute `mirror` for every type of debugger: `contributes.debuggers` of the packed manifest. VS Code
// merges it into the types that other extensions define, and has no way to say it once for all of them.

/** Types of debuggers that launch a program on this machine. */
const TYPES = [
  "node",
  "pwa-node",
  "node-terminal",
  "bun",
  "python",
  "debugpy",
  "go",
  "java",
  "kotlin",
  "cppdbg",
  "gdb",
  "lldb",
  "lldb-dap",
  "coreclr",
  "php",
  "rdbg",
  "ruby_lsp",
];

/** What `mirror` can be. */
const ATTRIBUTE = {
  markdownDescription:
    "Run the program as if it ran in a pod of your Kubernetes cluster. `true`: with the configuration file of the folder and the target that was picked; a path: with that configuration file; an object: with what it says.",
  default: true,
  // One schema with several types, because of several schemas none is shown to be the one that was meant.
  type: ["boolean", "string", "object"],
  additionalProperties: false,
  properties: {
    enabled: { type: "boolean", default: true, description: "Whether to run it with mirror." },
    config: { type: "string", description: "Path of the configuration file." },
    target: {
      type: "string",
      description: "Target: KIND/NAME, such as deployment/web, or targetless.",
      examples: ["deployment/", "statefulset/", "pod/", "service/", "targetless"],
    },
    container: { type: "string", description: "Container of the target." },
    kubeconfig: { type: "string", description: "Kubeconfig file." },
    context: { type: "string", description: "Context of the kubeconfig." },
    namespace: { type: "string", description: "Namespace of the target." },
    traffic: {
      enum: ["off", "mirror", "steal"],
      enumDescriptions: [
        "The target keeps its traffic.",
        "The program gets a copy of the target's traffic.",
        "The program gets the target's traffic instead of the target.",
      ],
      description: "What happens to the target's traffic.",
    },
  },
  defaultSnippets: [
    { label: "true", description: "with the target that was picked", body: true },
    { label: "{ target, traffic }", description: "with a target of its own", body: { target: "${1:deployment/web}", traffic: "${2|mirror,steal,off|}" } },
    { label: "false", description: "never", body: false },
  ],
};

/** The contribution. */
export const debuggers = TYPES.map((type) => ({
  type,
  configurationAttributes: { launch: { properties: { mirror: ATTRIBUTE } } },
}));
