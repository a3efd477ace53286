// Draws /openapi.json as a page on which the calls can be tried. Text is only ever set as text, never as markup.

const byId = (id) => document.getElementById(id);
const state = { token: "", document: null };

function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, String(value));
  }
  node.append(...children.filter((child) => child !== null));
  return node;
}

function resolve(schema) {
  const name = schema?.$ref?.split("/").pop();
  return name === undefined ? schema ?? {} : state.document.components.schemas[decodeURIComponent(name)] ?? {};
}

function typeOf(given) {
  if (given?.$ref) return given.$ref.split("/").pop();
  const schema = resolve(given);
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.enum) return schema.enum.map((one) => JSON.stringify(one)).join(" | ");
  const arms = schema.anyOf ?? schema.oneOf;
  if (arms) return arms.map(typeOf).join(" | ");
  if (schema.type === "array") return `list of ${schema.items ? typeOf(schema.items) : "anything"}`;
  if (Array.isArray(schema.type)) return schema.type.join(" | ");
  return schema.format ? `${schema.type} (${schema.format})` : schema.type ?? "anything";
}

function bounds(schema) {
  const words = [];
  if (schema.description) words.push(schema.description);
  const least = schema.minimum ?? schema.minLength ?? schema.minItems;
  const most = schema.maximum ?? schema.maxLength ?? schema.maxItems;
  const unit = schema.maxLength !== undefined || schema.minLength !== undefined ? " characters" : "";
  if (least !== undefined && most !== undefined) words.push(`${least} to ${most}${unit}`);
  else if (least !== undefined) words.push(`at least ${least}${unit}`);
  else if (most !== undefined) words.push(`at most ${most}${unit}`);
  if (schema.default !== undefined) words.push(`default ${JSON.stringify(schema.default)}`);
  return words.join("; ");
}

function fieldTable(given) {
  const schema = resolve(given);
  if (!schema.properties) return make("p", { class: "note" }, typeOf(given));
  const rows = Object.entries(schema.properties).map(([name, field]) =>
    make("tr", {},
      make("td", {}, make("code", {}, name), (schema.required ?? []).includes(name) ? " *" : ""),
      make("td", {}, make("code", {}, typeOf(field))),
      make("td", {}, bounds(resolve(field)))));
  return make("table", {},
    make("thead", {}, make("tr", {}, make("th", {}, "field"), make("th", {}, "type"), make("th", {}, ""))),
    make("tbody", {}, ...rows));
}

function sample(given, depth = 0) {
  const schema = resolve(given);
  if (schema.default !== undefined) return schema.default;
  if (schema.const !== undefined) return schema.const;
  if (schema.enum) return schema.enum[0];
  const arm = (schema.anyOf ?? schema.oneOf)?.[0];
  if (arm) return sample(arm, depth + 1);
  const kind = Array.isArray(schema.type) ? schema.type[0] : schema.type;
  if (kind === "object") {
    const made = {};
    if (depth < 5) for (const name of schema.required ?? []) made[name] = sample(schema.properties?.[name], depth + 1);
    return made;
  }
  if (kind === "array") return depth < 5 && schema.items ? [sample(schema.items, depth + 1)] : [];
  if (kind === "integer" || kind === "number") return schema.minimum ?? 0;
  if (kind === "boolean") return false;
  if (schema.format === "date-time") return "2030-01-31T12:00:00Z";
  return kind === "string" ? "text" : null;
}

function quoted(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

function drawCall(path, method, operation) {
  const id = operation.operationId;
  const inputs = new Map();
  const fields = make("div", { class: "fields" });
  for (const parameter of operation.parameters ?? []) {
    const input = make("input", { id: `${id}-${parameter.name}`, autocomplete: "off", spellcheck: "false" });
    inputs.set(parameter, input);
    fields.append(
      make("label", { for: `${id}-${parameter.name}` }, parameter.name + (parameter.required ? " *" : "")),
      input,
      make("span", { class: "about" }, [parameter.description, bounds(parameter.schema ?? {})].filter(Boolean).join("; ")));
  }
  const content = operation.requestBody?.content?.["application/json"];
  let body = null;
  const inside = make("div", {});
  if (operation.description) inside.append(make("p", { class: "note" }, operation.description));
  if (inputs.size) inside.append(make("h3", {}, "Parameters"), fields);
  if (content) {
    const example = content.example ?? (operation.requestBody.required ? sample(content.schema) : undefined);
    body = make("textarea", { spellcheck: "false", "aria-label": "Body" });
    body.value = example === undefined ? "" : JSON.stringify(example, null, 2);
    inside.append(make("h3", {}, operation.requestBody.required ? "Body" : "Body (may be empty)"), body);
    const schema = resolve(content.schema);
    const kinds = (schema.anyOf ?? []).filter((kind) => kind.title);
    if (kinds.length) {
      const choice = make("select", { "aria-label": "Fill in" }, make("option", { value: "" }, "Fill in…"), ...kinds.map((kind, at) => make("option", { value: at }, kind.title)));
      choice.addEventListener("change", () => {
        if (choice.value === "") return;
        const kind = kinds[choice.value];
        const given = kind.title === content.example?.type ? content.example : sample(kind);
        body.value = JSON.stringify(given, null, 2);
      });
      inside.append(make("div", { class: "row" }, choice));
    }
    if (schema.properties) inside.append(make("details", { class: "more" }, make("summary", {}, "Its fields"), fieldTable(content.schema)));
  }
  const answer = make("div", {});
  const send = make("button", { class: "send", type: "button" }, "Send");
  const command = make("button", { type: "button" }, "As curl");
  const request = () => {
    let target = path;
    const query = new URLSearchParams();
    const headers = {};
    for (const [parameter, input] of inputs) {
      const value = input.value;
      if (parameter.in === "path") target = target.replace(`{${parameter.name}}`, value.split("/").map(encodeURIComponent).join("/"));
      else if (value !== "" && parameter.in === "query") query.set(parameter.name, value);
      else if (value !== "") headers[parameter.name] = value;
    }
    if (query.size) target += `?${query}`;
    if (state.token) headers.Authorization = `Bearer ${state.token}`;
    if (body?.value.trim()) headers["Content-Type"] = "application/json";
    return { target, headers, body: body?.value.trim() || undefined };
  };
  send.addEventListener("click", async () => {
    for (const [parameter, input] of inputs) {
      if (parameter.required && !input.value) { input.focus(); return; }
    }
    send.disabled = true;
    try {
      const asked = request();
      const began = performance.now();
      const got = await fetch(asked.target, { method: method.toUpperCase(), headers: asked.headers, body: asked.body });
      const text = await got.text();
      const took = Math.round(performance.now() - began);
      let shown = text;
      try { shown = JSON.stringify(JSON.parse(text), null, 2); } catch { /* no JSON: shown as it is */ }
      answer.replaceChildren(
        make("div", { class: "row" }, make("span", { class: `status ${got.ok ? "good" : "bad"}` }, `${got.status} ${got.statusText}`), make("span", { class: "note" }, `${took} ms`)),
        make("pre", { tabindex: "0" }, shown));
    } catch (error) {
      answer.replaceChildren(make("p", { class: "status bad" }, `No answer: ${error.message}`));
    } finally {
      send.disabled = false;
    }
  });
  command.addEventListener("click", () => {
    const asked = request();
    const words = ["curl"];
    if (method !== "get") words.push("-X", method.toUpperCase());
    words.push(quoted(location.origin + asked.target));
    for (const [name, value] of Object.entries(asked.headers)) words.push("-H", quoted(`${name}: ${name === "Authorization" ? "Bearer TOKEN" : value}`));
    if (asked.body) words.push("-d", quoted(asked.body));
    answer.replaceChildren(make("pre", { tabindex: "0" }, words.join(" ")));
  });
  inside.append(make("div", { class: "row" }, send, command), answer, drawAnswers(operation));
  return make("details", { class: "call", id },
    make("summary", {},
      make("span", { class: `method ${method}` }, method.toUpperCase()),
      make("span", { class: "path" }, path),
      make("span", { class: "what" }, operation.summary)),
    inside);
}

function drawAnswers(operation) {
  const rows = Object.entries(operation.responses).map(([status, response]) => {
    const schema = Object.values(response.content ?? {})[0]?.schema;
    return make("tr", {}, make("td", {}, make("code", {}, status)), make("td", {}, response.description), make("td", {}, make("code", {}, schema ? typeOf(schema) : "")));
  });
  return make("details", { class: "more" }, make("summary", {}, "Answers"), make("table", {}, make("tbody", {}, ...rows)));
}

function drawType(name, schema) {
  return make("details", { class: "call", id: `schema-${name}` },
    make("summary", {}, make("span", { class: "path" }, name), make("span", { class: "what" }, schema.description ?? "")),
    make("div", {}, fieldTable(schema), make("details", { class: "more" }, make("summary", {}, "As JSON Schema"), make("pre", {}, JSON.stringify(schema, null, 2)))));
}

function draw() {
  const main = byId("main");
  const nav = byId("nav");
  const info = state.document.info;
  byId("version").textContent = info.version;
  main.replaceChildren(make("p", { class: "lead" }, info.description));
  nav.replaceChildren();
  const open = (id) => () => { const node = byId(id); if (node) node.open = true; };
  for (const { name: tag } of state.document.tags) {
    const calls = Object.entries(state.document.paths).flatMap(([path, methods]) =>
      Object.entries(methods).filter(([, operation]) => operation.tags.includes(tag)).map(([method, operation]) => [path, method, operation]));
    const section = make("section", {}, make("h2", {}, tag), ...calls.map((call) => drawCall(...call)));
    main.append(section);
    nav.append(make("b", {}, tag), ...calls.map(([, , operation]) =>
      make("a", { href: `#${operation.operationId}`, onclick: open(operation.operationId) }, operation.summary)));
  }
  const schemas = Object.entries(state.document.components.schemas).filter(([, schema]) => schema.properties);
  main.append(make("section", {}, make("h2", {}, "schemas"), ...schemas.map(([name, schema]) => drawType(name, schema))));
  if (location.hash) open(decodeURIComponent(location.hash.slice(1)))();
  filter();
}

function filter() {
  const words = byId("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const section of document.querySelectorAll("main section")) {
    let some = false;
    for (const node of section.querySelectorAll("details.call")) {
      const text = node.querySelector("summary").textContent.toLowerCase();
      node.hidden = !words.every((word) => text.includes(word));
      some ||= !node.hidden;
    }
    section.hidden = !some;
  }
}

async function load() {
  const notice = make("p", { id: "notice", role: "status" }, "Loading…");
  byId("main").replaceChildren(notice);
  try {
    const got = await fetch("/openapi.json", { headers: state.token ? { Authorization: `Bearer ${state.token}` } : {} });
    if (got.status === 401) {
      notice.textContent = state.token ? "This token is not known here." : "This server asks for a token: put it in above.";
      byId("token").focus();
      return;
    }
    if (!got.ok) throw new Error(`${got.status} ${got.statusText}`);
    state.document = await got.json();
    draw();
  } catch (error) {
    notice.textContent = `The document can't be read: ${error.message}`;
  }
}

byId("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  state.token = byId("token").value.trim();
  load();
});
byId("filter").addEventListener("input", filter);
load();
