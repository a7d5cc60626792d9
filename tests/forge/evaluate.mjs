// Answers questions about workflow files with GitHub's own packages: one JSON object a line in, one
// out, until its input ends. Start with `answers`.
//   node --import ./json-import-hook.mjs evaluate.mjs NODE_MODULES
import crypto from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import readline from "node:readline";
import { pathToFileURL } from "node:url";

const load = (file) => import(pathToFileURL(path.join(process.argv[2], file)).href);
const { Lexer, Parser, Evaluator, data } = await load("@actions/expressions/dist/index.js");
// Only a question about a whole file needs it, and it is most of the time that starting takes.
let parser;

const answers = {
  /** Every `${{ }}` of a value: alone in a text it keeps its type, among other text it is text. */
  evaluate: ({ value, context, status }) => fill(value, scope(context, status)),

  /** Whether an `if:` holds; without a function of status in it, only as long as all is well. */
  condition: ({ value, context, status }) => {
    const about = scope(context, status);
    const bare = String(value).trim().replace(/^\$\{\{((?:(?!\}\}).)*)\}\}$/s, "$1");
    const tree = parse(bare, about);
    const asks = new RegExp("\\b(success|failure|always|cancelled)\\s*\\(", "i");
    if (!asks.test(bare) && about.status !== "success") return false;
    const result = new Evaluator(tree, about.data, about.functions).evaluate();
    return truth(result);
  },

  /** What GitHub's parser says against a file; `others` holds the workflow files that it calls. */
  parse: async ({ name, content, others }) => {
    parser ??= await load("@actions/workflow-parser/dist/index.js");
    const parsed = parser.parseWorkflow({ name, content }, new parser.NoOperationTraceWriter());
    if (parsed.value) {
      const provider = {
        getFileContent: async (reference) => {
          const remote = "owner" in reference ? `${reference.owner}/${reference.repository}/` : "";
          const text = others?.[remote + reference.path];
          if (text === undefined) throw new Error(`${remote}${reference.path} is not there`);
          return { name: reference.path, content: text };
        },
      };
      await parser.convertWorkflowTemplate(parsed.context, parsed.value, provider, {
        fetchReusableWorkflowDepth: others ? 2 : 0,
      });
    }
    return [...new Set(parsed.context.errors.getErrors().map((error) => error.message))];
  },
};

function scope(context, status) {
  const names = {
    success: () => status === "success",
    failure: () => status === "failure",
    cancelled: () => status === "cancelled",
    always: () => true,
    hashFiles: (...patterns) => hashed(context.github?.workspace, patterns),
  };
  const functions = Object.entries(names).map(([name, call]) => ({
    name,
    minArgs: 0,
    maxArgs: 255,
    call: (...given) => toData(call(...given.map((one) => one.coerceString()))),
  }));
  return {
    status,
    names: Object.keys(context),
    list: functions,
    functions: new Map(functions.map((one) => [one.name.toLowerCase(), one])),
    data: toData(context),
  };
}

const parse = (text, about) => new Parser(new Lexer(text).lex().tokens, about.names, about.list).parse();

const run = (text, about) => new Evaluator(parse(text, about), about.data, about.functions).evaluate();

function fill(value, about) {
  if (Array.isArray(value)) return value.map((one) => fill(one, about));
  if (value && typeof value === "object")
    return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, fill(one, about)]));
  if (typeof value !== "string") return value;
  // A text within an expression may hold the two braces that would end it.
  const one = String.raw`\$\{\{((?:'(?:[^']|'')*'|(?!\}\}).)*)\}\}`;
  const alone = value.match(new RegExp(`^\\s*${one}\\s*$`, "s"));
  if (alone) return fromData(run(alone[1].trim(), about));
  return value.replace(new RegExp(one, "gs"), (_, text) => run(text.trim(), about).coerceString());
}

function truth(value) {
  if (value instanceof data.NumberData) return value.value !== 0 && !Number.isNaN(value.value);
  if (value instanceof data.StringData) return value.value !== "";
  if (value instanceof data.BooleanData) return value.value;
  return !(value instanceof data.Null);
}

function toData(value) {
  if (value === null || value === undefined) return new data.Null();
  if (Array.isArray(value)) return new data.Array(...value.map(toData));
  if (typeof value === "object")
    return new data.Dictionary(
      ...Object.entries(value).map(([key, one]) => ({ key, value: toData(one) })),
    );
  if (typeof value === "number") return new data.NumberData(value);
  if (typeof value === "boolean") return new data.BooleanData(value);
  return new data.StringData(value);
}

function fromData(value) {
  if (value instanceof data.Dictionary)
    return Object.fromEntries(value.pairs().map((pair) => [pair.key, fromData(pair.value)]));
  if (value instanceof data.Array) return value.values().map(fromData);
  return value instanceof data.Null ? null : value.value;
}

function hashed(workspace, patterns) {
  if (!workspace || !fs.existsSync(workspace)) return "";
  const wanted = patterns.map((pattern) => new RegExp("^" + glob(pattern) + "$"));
  const found = fs
    .readdirSync(workspace, { recursive: true })
    .filter((name) => wanted.some((one) => one.test(name)))
    .filter((name) => fs.statSync(path.join(workspace, name)).isFile())
    .sort();
  if (!found.length) return "";
  const all = crypto.createHash("sha256");
  for (const name of found) {
    const bytes = fs.readFileSync(path.join(workspace, name));
    all.update(crypto.createHash("sha256").update(bytes).digest());
  }
  return all.digest("hex");
}

const glob = (pattern) =>
  pattern
    .replace(/[.+^$()|{}]/g, "\\$&")
    .replace(/\*\*\/|\*|\?/g, (one) => ({ "**/": "(?:.*/)?", "*": "[^/]*", "?": "[^/]" })[one]);

for await (const line of readline.createInterface({ input: process.stdin })) {
  const question = JSON.parse(line);
  let answer;
  try {
    answer = { value: await answers[question.ask](question) };
  } catch (error) {
    answer = { error: String(error.message ?? error) };
  }
  process.stdout.write(JSON.stringify(answer) + "\n");
}
