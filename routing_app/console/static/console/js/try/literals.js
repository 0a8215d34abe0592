// Values as they are written in JavaScript, in Python and for a shell.

const IDENTIFIER = /^[A-Za-z_$][\w$]*$/;

// A JSON value as a JavaScript expression.
export function javascript(value) {
  if (Array.isArray(value)) return `[${value.map(javascript).join(", ")}]`;
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  const members = Object.entries(value).map(([name, one]) => `${property(name)}: ${javascript(one)}`);
  return members.length ? `{ ${members.join(", ")} }` : "{}";
}

function property(name) {
  // In a literal, __proto__ would set the prototype.
  if (name === "__proto__") return '["__proto__"]';
  return IDENTIFIER.test(name) ? name : JSON.stringify(name);
}

// A JSON value as a Python expression. A string of JSON is one of Python, too.
export function python(value) {
  if (Array.isArray(value)) return `[${value.map(python).join(", ")}]`;
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value !== "object") return JSON.stringify(value);
  const members = Object.entries(value).map(([name, one]) => `${JSON.stringify(name)}: ${python(one)}`);
  return `{${members.join(", ")}}`;
}

// A text as one word of a POSIX shell.
export const shell = (text) => `'${text.replaceAll("'", "'\\''")}'`;

// Lines as one text; null is left out, and lists are taken apart.
export function lines(...parts) {
  return parts
    .flat()
    .filter((part) => part !== null)
    .join("\n");
}
