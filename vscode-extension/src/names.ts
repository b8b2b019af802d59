// Finds the configurations of a launch.json: names and places. Knows nothing of VS Code.

/** A configuration or compound, and where its object begins. */
export interface Named {
  name: string;
  offset: number;
}

/**
 * All objects two levels down (`configurations[…]`, `compounds[…]`) that have a `name`, except those that attach. Comments
 * are skipped.
 */
export function configurationNames(text: string): Named[] {
  const found: Named[] = [];
  const opened: { at: number; brace: boolean }[] = [];
  let fields = new Map<string, string>();
  let last = "";
  let key = "";
  for (const token of text.matchAll(/\/\/[^\n]*|\/\*[^]*?\*\/|"(?:[^"\\]|\\.)*"|[{}[\]:,]/g)) {
    const [word] = token;
    if (word.startsWith("/")) {
      continue;
    }
    if (word === "{" || word === "[") {
      opened.push({ at: token.index, brace: word === "{" });
      fields = opened.length === 3 ? new Map<string, string>() : fields;
    } else if (word === "}" || word === "]") {
      const { at = 0, brace = false } = opened.pop() ?? {};
      const name = fields.get("name");
      if (opened.length === 2 && brace && name !== undefined && fields.get("request") !== "attach") {
        found.push({ name, offset: at });
      }
    } else if (word === ":") {
      key = last;
    } else if (word.startsWith('"') && last === ":" && opened.length === 3) {
      fields.set(unquoted(key), unquoted(word));
    }
    last = word;
  }
  return found;
}

function unquoted(word: string): string {
  try {
    return JSON.parse(word) as string;
  } catch {
    return word.slice(1, -1);
  }
}
