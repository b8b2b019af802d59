// Finds the configurations of a launch.json: names and places. Knows nothing of VS Code.

/** A configuration or compound, and where its object begins. */
export interface Named {
  name: string;
  offset: number;
}

/** All objects two levels down (`configurations[…]`, `compounds[…]`) that have a `name`. Comments are skipped. */
export function configurationNames(text: string): Named[] {
  const found: Named[] = [];
  const opened: { at: number; brace: boolean }[] = [];
  let last = "";
  let key = "";
  for (const token of text.matchAll(/\/\/[^\n]*|\/\*[^]*?\*\/|"(?:[^"\\]|\\.)*"|[{}[\]:,]/g)) {
    const [word] = token;
    if (word.startsWith("/")) {
      continue;
    }
    if (word === "{" || word === "[") {
      opened.push({ at: token.index, brace: word === "{" });
    } else if (word === "}" || word === "]") {
      opened.pop();
    } else if (word === ":") {
      key = last;
    } else if (word.startsWith('"') && key === '"name"' && last === ":" && opened.length === 3 && opened[2]?.brace === true) {
      found.push({ name: unquoted(word), offset: opened[2].at });
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
