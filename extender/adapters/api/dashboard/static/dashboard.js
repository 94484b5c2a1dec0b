// The dashboard: one stream of sections for the overview, and explain for one application.
import { NodeMap, carbonCurve, clock, coresAt, valueAt } from "./charts.js";

const $ = (id) => document.getElementById(id);
const state = { skew_s: 0, chosen: "", shown: "" };
const now_s = () => Date.now() / 1000 + state.skew_s;
const map = new NodeMap($("map"), $("node"));

// Texts come from pods: they are only ever set as text.
function made(name, properties = {}, ...children) {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children.filter((each) => each !== null && each !== undefined));
  return element;
}
const cell = (label, ...children) => { const td = made("td", {}, ...children); td.dataset.label = label; return td; };
const address = (row) => `#/app/${encodeURIComponent(row.ns)}/${encodeURIComponent(row.id)}`;
const number = (value) => value.toLocaleString(undefined, { maximumFractionDigits: value < 10 ? 1 : 0 });
const grams = (g) => (Math.abs(g) >= 1000 ? `${number(g / 1000)} kg` : `${number(g)} g`);
const gib = (bytes) => `${number(bytes / 2 ** 30)} GiB`;
function age(seconds) {
  const s = Math.max(0, Math.floor(seconds)), d = Math.floor(s / 86400), h = Math.floor(s / 3600) % 24, m = Math.floor(s / 60) % 60;
  return d ? `${d}d${h}h` : h ? `${h}h${m}m` : m ? `${m}m${s % 60}s` : `${s}s`;
}
function name(row, sub) {
  const link = made("a", { href: address(row), textContent: row.name || row.id });
  return cell("", link, made("span", { className: "sub", textContent: [row.app, row.ns, sub].filter(Boolean).join(" · ") }));
}

// -- sections of the overview ---------------------------------------------------------------------
const show = {
  totals(t) {
    state.totals = t;
    $("status").className = t.status === "ok" ? "ok" : "bad";
    $("status-text").textContent = { ok: "all is well", degraded: `${t.problems.length} problems`, "not-ready": "not ready yet" }[t.status] ?? t.status;
    $("problems").hidden = t.problems.length === 0;
    $("problems").replaceChildren(...t.problems.map((text) => made("li", { textContent: text })));
    figures();
  },
  queue(q) {
    state.queue = q;
    const words = $("filter").value.toLowerCase();
    const order = [...q.rows.filter((row) => !row.refused), ...q.rows.filter((row) => row.refused)];
    const rows = order.filter((row) => !words || `${row.name} ${row.app} ${row.ns} ${row.pool} ${row.outcome} ${row.reason}`.toLowerCase().includes(words));
    $("queue-count").textContent = q.total > q.rows.length ? `${q.total}, the first ${q.rows.length} shown` : `${q.total}`;
    fill("queue", rows, "Nothing waits.", (row) => [
      name(row, row.pool && `pool ${row.pool}`),
      cell("Place", row.refused ? "" : String(row.place)),
      cell("Waits", age(now_s() - row.since_s)),
      cell("Starts", row.refused ? "never as it is" : row.starts_s === null ? "not known" : row.starts_s <= now_s() + 1 ? "now" : `${clock(row.starts_s)} (in ${age(row.starts_s - now_s())})`),
      cell("Why", made("span", { className: row.refused ? "tag refused" : "tag", textContent: row.refused ? `refused: ${row.outcome}` : row.outcome || "not judged yet" }),
        made("span", { className: "sub", textContent: row.after ? `${row.reason} (after ${row.after})` : row.reason })),
    ]);
    figures();
  },
  gangs(g) {
    state.gangs = g;
    $("gangs-count").textContent = g.total > g.rows.length ? `${g.total}, the first ${g.rows.length} shown` : `${g.total}`;
    fill("gangs", g.rows, "Nothing runs.", (row) => [
      name(row, row.state === "admitted" ? "room is reserved, the driver is being bound" : ""),
      cell("Executors", bar(row.bound, Math.max(row.bound, row.target ?? 0, row.least)), `${row.bound} of ${row.least === row.most ? row.least : `${row.least} to ${row.most}`}`, row.waiting ? made("span", { className: "sub", textContent: `${row.waiting} wait` }) : null),
      cell("Target", row.target === null ? "no limit" : String(row.target)),
      cell("Stages", row.stages[1] ? bar(row.stages[0], row.stages[1]) : null, row.stages[1] ? `${row.stages[0]} of ${row.stages[1]}` : "not known"),
      cell("Runs", row.since_s === null ? "" : age(now_s() - row.since_s)),
      cell("Driver on", row.node),
    ]);
  },
  carbon(c) {
    state.carbon = c;
    if (!c.zones.length) {
      $("zones").replaceChildren(made("p", { className: "empty", textContent: "No node has a carbon zone: nothing is held, and nothing is known of the grid." }));
      return figures();
    }
    $("zones").replaceChildren(...c.zones.map((zone) => {
      const { svg, at } = carbonCurve(zone, c, now_s()), read = made("p", { textContent: "" });
      svg.addEventListener("pointermove", (event) => {
        const box = svg.getBoundingClientRect(), s = at(((event.clientX - box.left) / box.width) * 560), value = valueAt(zone, s, now_s());
        read.textContent = `${clock(s)}: ${value === undefined ? "not known" : `${Math.round(value)} g/kWh`}${s >= now_s() ? `, ${number(coresAt(zone, c, s))} cores` : ""}`;
      });
      svg.addEventListener("pointerleave", () => { read.textContent = ""; });
      const value = zone.now === null ? `not known: ${zone.why}` : `${Math.round(zone.now)} g/kWh now`;
      return made("div", { className: "zone" }, made("h3", {}, zone.zone, made("span", { textContent: `${value} · ${zone.nodes} nodes` })), svg, read);
    }));
    figures();
  },
  async nodes(section) {
    if (map.epoch !== section.epoch) map.name(await (await fetch("/dashboard/nodes")).json());
    map.show(section);
  },
  savings(s) {
    state.savings = s;
    const empty = (text) => $("savings").replaceChildren(made("p", { className: "empty", textContent: text }));
    if (s === null) empty("No ledger is configured (accounting.ledger): nothing is booked.");
    else if (!s.namespaces.length) empty("No application has ended yet whose saving is known.");
    else {
      const largest = Math.max(1, ...s.namespaces.map((each) => Math.abs(each.saved_g)));
      const rows = s.namespaces.map((each) => made("tr", {}, cell("", each.name), cell("Saved", bar(Math.max(0, each.saved_g), largest), grams(each.saved_g)),
        cell("Emitted", grams(each.emitted_g)), cell("Applications", String(each.applications))));
      $("savings").replaceChildren(made("div", { className: "scroll" }, made("table", {}, head(["Namespace", "Saved", "Emitted", "Applications"]), made("tbody", {}, ...rows))),
        made("p", { className: "empty", textContent: `Against the same work at submission, last ${s.days} days; ${s.unknown} applications are left out because a value is not known.` }));
    }
    figures();
  },
};

const head = (names) => made("thead", {}, made("tr", {}, ...names.map((each) => made("th", { textContent: each }))));

function bar(part, whole) {
  const inner = made("i");
  inner.style.width = `${whole > 0 ? Math.min(100, (100 * part) / whole) : 0}%`;
  const outer = made("span", { className: "bar" }, inner);
  outer.setAttribute("aria-hidden", "true");
  return outer;
}

function fill(id, rows, empty, cells) {
  const body = $(id).tBodies[0], active = document.activeElement?.getAttribute?.("href");
  body.replaceChildren(...(rows.length ? rows.map((row) => {
    const tr = made("tr", {}, ...cells(row));
    tr.dataset.href = address(row);
    tr.className = address(row) === state.chosen ? "chosen" : "";
    return tr;
  }) : [made("tr", {}, made("td", { colSpan: 6, className: "empty", textContent: empty }))]));
  if (active) body.querySelector(`a[href="${CSS.escape(active)}"]`)?.focus();
}

function figures() {
  const t = state.totals;
  if (!t) return;
  const refused = state.queue?.rows.filter((row) => row.refused).length ?? 0;
  const entry = (label, value, note = "") => made("div", {}, made("dt", { textContent: label }), made("dd", {}, value, made("small", { textContent: note && ` ${note}` })));
  const cores = (m) => number(m / 1000);
  $("figures").replaceChildren(
    entry("Running", String((t.gangs.running ?? 0) + (t.gangs.admitted ?? 0)), "applications"),
    entry("Waiting", String(Math.max(0, (t.gangs.waiting ?? 0) - refused)), state.carbon?.held ? `${state.carbon.held} held for carbon` : ""),
    entry("Refused for good", String(refused)),
    entry("Cores", `${cores(t.used.cpu + t.reserved.cpu)}`, `of ${cores(t.allocatable.cpu)}, ${cores(t.reserved.cpu)} reserved`),
    entry("Memory", gib(t.used.memory + t.reserved.memory), `of ${gib(t.allocatable.memory)}`),
    entry("Nodes", number(t.nodes)),
    ...(t.budget === null ? [] : [entry("Carbon budget", String(t.budget), "executors")]),
    ...(state.savings ? [entry("Saved", grams(state.savings.saved_g), `in ${state.savings.days} days`)] : []),
  );
}

// -- one application ----------------------------------------------------------------------------------
async function explain() {
  const [, page, ns, id] = location.hash.split("/");
  const shown = page === "app" ? location.hash : "";
  $("overview").hidden = Boolean(shown);
  $("application").hidden = !shown;
  if (!shown) { document.title = "carbon-scheduler"; state.shown = ""; return; }
  const ask = `name=${ns}/${id}`;
  const [answer, more] = await Promise.all([fetch(`/v1/explain?${ask}`), fetch(`/v1/applications/${ns}/${id}`)]);
  const found = await answer.json(), parts = more.ok ? await more.json() : null;
  if (location.hash !== shown) return;
  if (!answer.ok) { $("app-title").textContent = "Not known"; $("explanation").replaceChildren(made("p", { textContent: found.detail })); return; }
  const s = found.summary, title = s.leader || s.app_id;
  document.title = `${title} - carbon-scheduler`;
  $("app-title").textContent = found.app_name ? `${title} (${found.app_name})` : title;
  $("explanation").replaceChildren(...explanation(found), ...(parts ? members(parts) : []));
  if (state.shown !== shown) $("app-title").focus();
  state.shown = shown;
}

function explanation(e) {
  const s = e.summary, facts = made("dl", { className: "pairs", id: "facts" });
  const say = (label, text) => { if (text) facts.append(made("dt", { textContent: label }), made("dd", { textContent: text })); };
  const when = (at) => `${clock(at)}${at > now_s() + 1 ? ` (in ${age(at - now_s())})` : ""}`;
  say("State", `${e.refused_for_good ? "refused for good" : s.state}${s.leader_node ? ` on ${s.leader_node}` : ""}${e.since_s === null ? "" : `, since ${clock(e.since_s)} (${age(now_s() - e.since_s)})`}`);
  say("Reason", e.outcome ? `${e.outcome}: ${e.headline}` : e.headline);
  say("kube-scheduler", e.kube_scheduler);
  say("Blocker", e.blocker);
  if (e.place) say("Place", `${e.place.position} of ${e.place.waiting} in ${e.place.pool || "the default pool"}${e.refused_for_good ? "" : `, ${e.place.can_start} of those that can start`}`);
  if (e.expected) {
    const { earliest_s: low, latest_s: high } = e.expected;
    say("Starts", `${when(e.expected.at_s)}${low !== null && high !== null && high - low > 60 ? `, between ${clock(low)} and ${clock(high)}` : ""}: ${e.expected.source}`);
  } else if (s.state === "waiting" && !e.refused_for_good) say("Starts", "not known: the expected ends of what runs do not give enough room");
  if (e.saving) say("Waiting saves", `${grams(e.saving.grams)} CO2e: ${Math.round(e.saving.planned_g_per_kwh)} instead of ${Math.round(e.saving.now_g_per_kwh)} g/kWh for ${number(e.saving.kwh)} kWh`);
  for (const each of e.missing.filter((one) => one.missing)) say("Missing", `${amount(each.resource, each.missing)} of ${each.resource}: it requests ${amount(each.resource, each.requested)} and ${amount(each.resource, each.free)} is free where it may run`);
  if (e.workers_fit_now !== null && e.request) say("Room now", `${e.workers_fit_now} of ${e.request.min_workers} executors would fit`);
  for (const each of e.nodes) say(each.pod === "leader" ? "Nodes for driver" : "Nodes for executor", `${each.with_room} of ${each.nodes} have room${each.excluded.map((one) => `; ${one.nodes} ${one.reason}`).join("")}`);
  if (e.request) say("Asks for", `a driver of ${amounts(e.request.leader)}; ${e.request.min_workers}${e.request.max_workers > e.request.min_workers ? ` to ${e.request.max_workers}` : ""} executors of ${amounts(e.request.worker)} each`);
  for (const fault of e.faults) say("Fault", fault);
  say("Id", `${s.namespace}/${s.app_id}`);
  const out = [facts];
  if (e.would_help.length) out.push(made("h3", { textContent: "These changes would help" }), made("ol", { className: "help" }, ...e.would_help.map((each) => made("li", {}, `${each.change}: ${each.gives} `, made("small", { textContent: each.by === "operator" ? "(operator)" : "" })))));
  return out;
}

function members(a) {
  const out = [];
  const table = (names, rows) => made("div", { className: "scroll" }, made("table", {}, head(names), made("tbody", {}, ...rows)));
  if (a.target !== null) out.push(made("p", { textContent: `Executors wanted now: ${a.target}` }));
  if (a.stages.length) {
    out.push(made("h3", { textContent: "Stages" }), table(["Stage", "State", "Tasks", "Importance"], a.stages.slice(-60).map((each) =>
      made("tr", {}, cell("", `${each.stage_id} ${each.name}`), cell("State", each.state), cell("Tasks", bar(each.finished, each.tasks), `${each.finished} of ${each.tasks}`), cell("Importance", each.importance.toFixed(2))))));
  }
  if (a.slots.length || a.workers.length) {
    const rows = a.slots.map((slot) => made("tr", {}, cell("", slot.pod || "open"), cell("Node", slot.node || "no room yet"), cell("", slot.bound ? "bound" : slot.pod ? "claimed" : "reserved")));
    rows.push(...a.workers.filter((each) => !each.has_slot).map((each) => made("tr", {}, cell("", each.pod), cell("Node", each.node || "waits"), cell("", "above the minimum"))));
    out.push(made("h3", { textContent: "Members" }), table(["Executor", "Node", ""], rows.slice(0, 500)));
  }
  return out;
}

const amount = (resource, value) => (resource === "cpu" ? String(value / 1000) : resource === "memory" ? gib(value) : String(value));
const amounts = (all) => Object.entries(all).map(([resource, value]) => `${amount(resource, value)} ${resource}`).join(", ") || "nothing";

// -- stream, keys, theme ----------------------------------------------------------------------------------
let stale;
function listen() {
  const stream = new EventSource("/dashboard/events");
  stream.addEventListener("hello", (event) => { state.skew_s = JSON.parse(event.data).now_s - Date.now() / 1000; clearTimeout(stale); document.body.dataset.live = "yes"; });
  for (const section of Object.keys(show)) {
    stream.addEventListener(section, (event) => {
      show[section](JSON.parse(event.data));
      if (state.shown && (section === "gangs" || section === "queue")) again();
    });
  }
  stream.onerror = () => {
    clearTimeout(stale);
    stale = setTimeout(() => { document.body.dataset.live = "no"; $("status").className = "bad"; $("status-text").textContent = "connection lost, trying again"; }, 3000);
    if (stream.readyState === EventSource.CLOSED) setTimeout(listen, 5000);
  };
}
let waiting = null;
function again() { waiting ??= setTimeout(() => { waiting = null; explain(); }, 1500); }

function step(by) {
  const rows = [...document.querySelectorAll("tr[data-href]")];
  if (!rows.length || $("overview").hidden) return;
  const at = rows.findIndex((row) => row.dataset.href === state.chosen);
  const next = rows[Math.min(rows.length - 1, Math.max(0, at < 0 ? 0 : at + by))];
  rows.forEach((row) => row.classList.toggle("chosen", row === next));
  state.chosen = next.dataset.href;
  next.querySelector("a").focus();
  next.scrollIntoView({ block: "nearest" });
}
function theme() {
  const root = document.documentElement, dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  try { localStorage.setItem("theme", root.dataset.theme); } catch { /* private windows keep nothing */ }
  map.paint();
}
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.tagName === "INPUT") { if (event.key === "Escape") event.target.blur(); return; }
  if ($("keys").open) return;
  const act = { j: () => step(1), k: () => step(-1), t: theme, "?": () => $("keys").showModal(), "/": () => { location.hash = "#/"; $("filter").focus(); }, Escape: () => { location.hash = "#/"; } }[event.key];
  if (act) { event.preventDefault(); act(); }
});
$("theme").addEventListener("click", theme);
$("help").addEventListener("click", () => $("keys").showModal());
$("filter").addEventListener("input", () => state.queue && show.queue(state.queue));
window.addEventListener("hashchange", explain);
setInterval(() => { if (!document.hidden && !$("overview").hidden) { if (state.queue) show.queue(state.queue); if (state.gangs) show.gangs(state.gangs); } }, 5000);
setInterval(() => { if (!document.hidden && state.carbon && !document.querySelector("#zones svg:hover")) show.carbon(state.carbon); }, 30000);
try { const kept = localStorage.getItem("theme"); if (kept) document.documentElement.dataset.theme = kept; } catch { /* private windows keep nothing */ }
explain();
listen();
