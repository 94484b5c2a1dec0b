// The OpenAPI document as a page: routes by tag, their parameters and answers, and a button that tries a GET.
const made = (name, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children.filter(Boolean));
  return element;
};
const box = document.getElementById("routes");
const api = await (await fetch("/openapi.json")).json();

function typeOf(schema, seen = []) {
  if (!schema) return "any";
  if (schema.$ref) {
    const name = schema.$ref.split("/").pop();
    return seen.includes(name) ? name : outline(name, api.components.schemas[name], [...seen, name]);
  }
  if (schema.anyOf) return schema.anyOf.map((each) => typeOf(each, seen)).join(" or ");
  if (schema.type === "array") return `[${typeOf(schema.items, seen)}]`;
  if (schema.enum) return schema.enum.join(" | ");
  if (schema.additionalProperties) return `{string: ${typeOf(schema.additionalProperties, seen)}}`;
  return schema.type ?? "any";
}
function outline(name, schema, seen) {
  if (!schema?.properties) return schema?.enum ? schema.enum.join(" | ") : name;
  const pad = "  ".repeat(seen.length);
  const lines = Object.entries(schema.properties).map(([key, each]) => `${pad}${key}: ${typeOf(each, seen)}${each.description ? `  // ${each.description}` : ""}`);
  return `{\n${lines.join("\n")}\n${"  ".repeat(seen.length - 1)}}`;
}

function route(path, method, it) {
  const inputs = new Map(), form = made("form"), result = made("pre", { hidden: true });
  for (const each of it.parameters ?? []) {
    const input = made("input", { name: each.name, required: each.required, placeholder: each.schema?.default ?? "" });
    inputs.set(each, input);
    form.append(made("p", {}, made("label", {}, `${each.name}${each.required ? "" : " (optional)"} `, input), made("span", { textContent: ` ${each.description ?? ""}` })));
  }
  if (method === "get") form.append(made("button", { textContent: "Try" }));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    let url = path;
    const query = new URLSearchParams();
    for (const [each, input] of inputs) {
      if (each.in === "path") url = url.replace(`{${each.name}}`, encodeURIComponent(input.value));
      else if (input.value) query.set(each.name, input.value);
    }
    const answer = await fetch(query.size ? `${url}?${query}` : url), text = await answer.text();
    let shown = text;
    try { shown = JSON.stringify(JSON.parse(text), null, 2); } catch { /* not JSON: as it is */ }
    result.hidden = false;
    result.textContent = `${answer.status}\n${shown.slice(0, 20000)}`;
  });
  const answer = Object.values(it.responses ?? {})[0]?.content?.["application/json"]?.schema;
  const request = it.requestBody?.content?.["application/json"]?.schema;
  return made("details", { className: "route" },
    made("summary", {}, made("span", { className: "method", textContent: method.toUpperCase() }), made("code", { textContent: path }), ` ${it.summary ?? ""}`),
    it.description && it.description !== it.summary ? made("p", { textContent: it.description }) : null, form,
    request ? made("pre", { textContent: `request ${typeOf(request)}` }) : null, answer ? made("pre", { textContent: `answer ${typeOf(answer)}` }) : null, result);
}

const tags = new Map();
for (const [path, methods] of Object.entries(api.paths)) {
  for (const [method, it] of Object.entries(methods)) {
    const tag = it.tags?.[0] ?? "other";
    if (!tags.has(tag)) tags.set(tag, []);
    tags.get(tag).push(route(path, method, it));
  }
}
box.replaceChildren(made("p", { textContent: `${api.info.title} ${api.info.version}: ${api.info.summary ?? ""}` }),
  ...[...tags].flatMap(([tag, routes]) => [made("h2", { textContent: tag }), ...routes]));
