// Validate and execute requests with graphql-js, over GitHub's schema and made-up data. Reads a list
// of {query, variables}, prints a list of {data, errors}: whatever is asked for is there, once.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname } from "node:path";

const sdl = process.argv[2];
const require = createRequire(dirname(sdl) + "/");
const {
  buildSchema, execute, getNamedType, getNullableType, isAbstractType, isEnumType, isListType,
  isScalarType, parse, validate,
} = require("graphql");

const schema = buildSchema(readFileSync(sdl, "utf8"), { assumeValid: true, assumeValidSDL: true });
const scalars = {
  Int: 7, Float: 1.5, Boolean: false, ID: "made up", String: "made up", Date: "2026-11-22",
  DateTime: "2026-11-22T12:00:00Z", BigInt: "7", URI: "https://github.com/acme",
};

function made(type) {
  const plain = getNullableType(type);
  if (isListType(plain)) return [made(plain.ofType)];
  const named = getNamedType(plain);
  if (isScalarType(named)) return scalars[named.name] ?? "made up";
  if (isEnumType(named)) return named.getValues()[0].value;
  return {};
}

const answers = JSON.parse(readFileSync(0, "utf8")).map(({ query, variables }) => {
  const document = parse(query);
  const wrong = validate(schema, document);
  if (wrong.length) return { errors: wrong.map((one) => one.message) };
  const { data, errors } = execute({
    schema,
    document,
    variableValues: variables,
    fieldResolver: (source, args, context, info) => made(info.returnType),
    typeResolver: (value, context, info, type) => {
      // It is of a type that the request asks about.
      const asked = info.fieldNodes
        .flatMap((node) => node.selectionSet.selections)
        .map((one) => (one.kind === "FragmentSpread" ? info.fragments[one.name.value] : one))
        .filter((one) => one.typeCondition)
        .map((one) => schema.getType(one.typeCondition.name.value));
      const possible = schema.getPossibleTypes(type);
      const fits = (one) =>
        asked.some((it) => it === one || (isAbstractType(it) && schema.isSubType(it, one)));
      return (possible.find((one) => asked.includes(one)) ?? possible.find(fits) ?? possible[0]).name;
    },
  });
  return { data, errors: (errors ?? []).map((one) => one.message) };
});
process.stdout.write(JSON.stringify(answers));
