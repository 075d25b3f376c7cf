// The tab "Sealed XComs" of a task instance, and the page "Sealed XComs" under Browse.
//
// One module on Airflow's own React, Chakra UI and router, which its page offers as globals: no build step, no
// library of ours. Whatever comes from a row (ids, keys, previews) becomes a text node and nothing else.

const { React = {}, ChakraUI: C = {}, ReactRouterDOM: Router = {} } = globalThis;
const { createElement, Fragment, useEffect, useId, useRef, useState } = React;

const NEEDED = {
  React: [React, "createElement Component Fragment useEffect useId useRef useState"],
  ReactRouterDOM: [Router, "Link useSearchParams"],
  ChakraUI: [C, "Badge Box Button Code Flex Heading Input Link NativeSelect Spinner Table Text VisuallyHidden"],
};
const TITLE = "Sealed XComs";
// A tab with this many XComs shows each of them whole; a longer one shows their titles.
const OPEN_AT_MOST = 5;
const TREE_OPEN_AT_MOST = 60;
const PALETTES = {
  sealed: "green", plaintext: "red", shredded: "gray", expired: "orange", unreadable: "red",
  error: "red", warning: "orange", note: "blue", ok: "green", refused: "red", failed: "orange",
};

// --- texts

// Control characters, and marks that turn the direction of a text, are shown as what they are.
const UNSEEN = /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/g;
const clean = (text) => text.replace(UNSEEN, (found) => `\\u${found.charCodeAt(0).toString(16).padStart(4, "0")}`);
const tidy = (child) => (typeof child === "string" ? clean(child) : Array.isArray(child) ? child.map(tidy) : child);

// Every element is made here, so no text gets onto the page as it stands in a row.
function h(type, props, ...children) {
  const label = props?.["aria-label"];
  return createElement(type, label ? { ...props, "aria-label": clean(label) } : props, ...children.map(tidy));
}

const isSet = (value) => value !== undefined && value !== null && value !== "";
// Several parts that stand side by side.
const both = (...parts) => h(Fragment, null, ...parts);
const number = (value) => value?.toLocaleString("en-US");
const plural = (count, name) => `${number(count)} ${name}${count === 1 ? "" : "s"}`;
const list = (names) => (names ?? []).filter(Boolean).join(", ") || null;

function sizeText(bytes) {
  if (!isSet(bytes)) return null;
  const units = ["B", "KiB", "MiB", "GiB"];
  const step = bytes < 1024 ? 0 : Math.min(3, Math.floor(Math.log2(bytes) / 10));
  return `${step ? (bytes / 1024 ** step).toFixed(1) : bytes} ${units[step]}`;
}

// The zone that is chosen in Airflow's own menu.
function timeZone() {
  try {
    const zone = JSON.parse(localStorage.getItem("timezone"));
    new Intl.DateTimeFormat("en", { timeZone: zone });
    return zone || "UTC";
  } catch {
    return "UTC";
  }
}

function exactTime(text) {
  const zone = timeZone();
  const format = new Intl.DateTimeFormat("sv-SE", { timeZone: zone, dateStyle: "short", timeStyle: "medium" });
  return `${format.format(new Date(text))} ${zone}`;
}

function relativeTime(text) {
  const seconds = (new Date(text) - Date.now()) / 1000;
  const units = [["year", 31557600], ["month", 2629800], ["day", 86400], ["hour", 3600], ["minute", 60]];
  const [unit, size] = units.find(([, length]) => Math.abs(seconds) >= length) ?? ["second", 1];
  return new Intl.RelativeTimeFormat("en", { numeric: "auto" }).format(Math.round(seconds / size), unit);
}

// --- the API

const API = new URL("../", import.meta.url);
const segment = encodeURIComponent;

const ERRORS = {
  0: ["The API server does not answer.", "Check the network, then try again."],
  401: ["Your session has ended.", "Reload the page to log in again."],
  403: ["You are not allowed to read this.", "Ask for the permission to read XComs of this DAG."],
};

async function ask(path, query, signal) {
  const url = new URL(path, API);
  for (const [name, value] of Object.entries(query)) if (isSet(value)) url.searchParams.set(name, value);
  const sent = fetch(url, { credentials: "same-origin", headers: { Accept: "application/json" }, signal });
  const answer = await sent.catch(() => ({ status: 0 }));
  const body = await answer.json?.().catch(() => null);
  if (answer.ok && body) return body;
  const { status } = answer;
  const [detail = body?.detail ?? `The API server answers HTTP ${status}.`, remedy = body?.remedy] = ERRORS[status] ?? [];
  throw { status, detail, remedy };
}

// The last answer stays on the page while the same is asked again, and goes when something else is asked.
function useAsk(path, query, wait = false) {
  const [count, setCount] = useState(0);
  const [state, setState] = useState({});
  const asked = JSON.stringify([path, query]);
  useEffect(() => {
    if (wait) return;
    const stop = new AbortController();
    setState((before) => ({ asked, loading: true, data: before.asked === asked ? before.data : undefined }));
    ask(path, query, stop.signal).then(
      (data) => setState({ asked, data }),
      (error) => stop.signal.aborted || setState({ asked, error }),
    );
    return () => stop.abort();
  }, [asked, count, wait]);
  return { ...(state.asked === asked ? state : { loading: true }), again: () => setCount((before) => before + 1) };
}

// Pages by key: the places where the pages before this one began. Other filters begin anew.
function useCursors(of) {
  const key = JSON.stringify(of);
  const [state, setState] = useState({ key, cursors: [] });
  const cursors = state.key === key ? state.cursors : [];
  return { cursors, after: cursors[cursors.length - 1], setCursors: (next) => setState({ key, cursors: next }) };
}

const rowQuery = (row) => ({ run_id: row.run_id, task_id: row.task_id, map_index: row.map_index, key: row.key, ti_id: row.attempt?.ti_id });
const rowKey = (row) => JSON.stringify([row.dag_id, rowQuery(row)]);

// --- places in Airflow's page

const instanceText = (of) => `${of.task_id}${of.map_index >= 0 ? `[${of.map_index}]` : ""}`;
const runPath = (of) => `/dags/${segment(of.dag_id)}/runs/${segment(of.run_id)}`;
const taskPath = (of) => `${runPath(of)}/tasks/${segment(of.task_id)}${of.map_index >= 0 ? `/mapped/${of.map_index}` : ""}`;
const ATTEMPT = ["try_number", "region_id", "region_index"];
const attemptOf = (of) => Object.fromEntries(ATTEMPT.filter((name) => isSet(of?.[name])).map((name) => [name, String(of[name])]));
const tabPath = (row) => `${taskPath(row)}/plugin/sealed-xcoms?${new URLSearchParams({ key: row.key, ...attemptOf(row.attempt) })}`;

function attemptText(of) {
  const iteration = isSet(of.iteration) ? `, iteration ${of.iteration}` : "";
  return `try ${of.try_number}${iteration}${of.live ? "" : ", archived"}`;
}

// --- small parts

const Mono = (props) => h(C.Text, { as: "span", fontFamily: "mono", ...props });
const Muted = (props) => h(C.Text, { color: "fg.muted", ...props });
const Tiny = (props) => h(Muted, { fontSize: "xs", ...props });
const Aside = (props) => h(Muted, { as: "span", ...props });
const Strong = (props) => h(C.Text, { as: "strong", color: "colorPalette.fg", ...props });
const Small = (props) => h(C.Button, { size: "xs", variant: "outline", type: "button", flexShrink: 0, ...props });
const Bar = (props) => h(C.Flex, { gap: 2, align: "center", wrap: "wrap", ...props });
// What a colour or a place says to the eye, `said` says to a screen reader.
const Mark = ({ palette, said, children, ...rest }) =>
  h(C.Badge, { colorPalette: palette, variant: "subtle", whiteSpace: "normal", ...rest }, said && h(C.VisuallyHidden, null, said, " "), children);
const StateMark = ({ state, said }) => h(Mark, { palette: PALETTES[state] ?? "gray", whiteSpace: "nowrap", said }, state);
const Title = (props) => h(C.Heading, { size: "xs", fontWeight: "semibold", mt: 4, mb: 1, ...props });
const Panel = (props) => h(C.Box, { as: "article", borderWidth: 1, borderRadius: "md", p: 4, mb: 4, ...props });
const To = ({ to, children, ...rest }) => h(C.Link, { asChild: true, color: "fg.info", ...rest }, h(Router.Link, { to }, children));
const TaskLink = ({ of }) => h(To, { to: taskPath(of), fontFamily: "mono" }, `${of.dag_id} / ${instanceText(of)}`);

function Time({ at, exact }) {
  if (!at) return null;
  const relative = exact && h(Tiny, { as: "span", display: "block" }, relativeTime(at));
  return h("time", { dateTime: at, title: exactTime(at) }, exact ? exactTime(at) : relativeTime(at), relative);
}

const when = (at) => at && h(Time, { at, exact: true });

// Commands in the texts of findings stand between backticks.
const withCode = (text) => text.split("`").map((part, place) => (place % 2 ? h(C.Code, { key: place, size: "sm", whiteSpace: "pre-wrap" }, part) : part));

async function toClipboard(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  // Without HTTPS there is no clipboard API.
  const area = document.createElement("textarea");
  area.value = text;
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  if (!done) throw new Error("the browser does not let this page copy");
  return;
}

function Copy({ text, label, ...rest }) {
  const [said, setSaid] = useState("");
  useEffect(() => {
    const timer = said && setTimeout(() => setSaid(""), 4000);
    return () => clearTimeout(timer);
  }, [said]);
  const onClick = () => toClipboard(text).then(() => setSaid("Copied"), () => setSaid("Not copied: select the text"));
  return both(h(Small, { onClick, ...rest }, said || label), h(C.VisuallyHidden, { role: "status" }, said));
}

function Toggle({ open, setOpen, name, ...rest }) {
  const text = open ? "Hide" : "Show";
  return h(Small, { onClick: () => setOpen(!open), "aria-expanded": open, "aria-label": `${text} details of ${name}`, ...rest }, text);
}

function Command({ title, text }) {
  if (!text) return null;
  return h(C.Box, { mt: 3 },
    h(Muted, { mb: 1 }, title),
    h(C.Flex, { gap: 2, align: "start" },
      h(C.Code, { flex: 1, p: 2, whiteSpace: "pre-wrap", minW: 0, display: "block" }, text),
      h(Copy, { text, label: "Copy", "aria-label": `Copy the command: ${title}` }),
    ),
  );
}

function Notice({ severity, text, remedy, children, ...rest }) {
  const tone = { error: "error", warning: "warning" }[severity] ?? "info";
  return h(C.Box, { bg: `bg.${tone}`, borderRadius: "md", px: 3, py: 2, mb: 2, borderInlineStartWidth: 4, borderColor: `border.${tone}`, ...rest },
    h(Strong, { colorPalette: PALETTES[severity] ?? "blue" }, `${severity[0].toUpperCase()}${severity.slice(1)}: `),
    withCode(text),
    remedy && h(C.Box, { mt: 1 }, withCode(remedy)),
    children,
  );
}

function Failure({ error, again }) {
  return h(Notice, { severity: "error", role: "alert", text: error.detail ?? String(error), remedy: error.remedy }, again && h(Small, { onClick: again, mt: 2, display: "block" }, "Try again"));
}

const Pending = ({ data, error, again }) =>
  error ? h(Failure, { error, again }) : !data && h(Bar, { role: "status", py: 2 }, h(C.Spinner, { size: "sm" }), h(Muted, null, "Loading ..."));
const Findings = ({ findings }) => (findings ?? []).map(({ severity, text, remedy, line }, place) => h(Notice, { key: place, severity, text: isSet(line) ? `line ${line}: ${text}` : text, remedy }));

// Names and values; a third part of an entry lets it have the whole width.
function Facts({ facts }) {
  return h(C.Box, { as: "dl", display: "grid", gridTemplateColumns: "repeat(auto-fill, minmax(11rem, 1fr))", gap: 4, my: 2 },
    facts.filter(([, value]) => isSet(value) && value !== false).map(([name, value, wide]) =>
      h(C.Box, { key: name, minW: 0, gridColumn: wide && "1 / -1" },
        h(Tiny, { as: "dt" }, name),
        h(C.Box, { as: "dd", m: 0 }, value),
      )),
  );
}

const lines = (of, text = String, props = {}) =>
  of?.length ? h(C.Box, { as: "ul", listStyleType: "none", m: 0, p: 0, ...props }, of.map((entry, place) => h("li", { key: place }, text(entry)))) : null;

// A table that is wider than its place scrolls, by the keyboard too.
function Grid({ label, columns, children, ...rest }) {
  const head = columns.map((column, place) => h(C.Table.ColumnHeader, { key: place, scope: "col", color: "fg.muted", fontSize: "xs", ...wideOnly(column) }, column));
  return h(C.Box, { overflow: "auto", role: "region", "aria-label": label, tabIndex: 0, ...rest },
    h(C.Table.Root, { size: "sm", overflowWrap: "normal" }, h(C.Table.Header, null, h(C.Table.Row, { bg: "transparent" }, head)), h(C.Table.Body, null, children)),
  );
}
// What a narrow page leaves to the details.
const wideOnly = (column) => (["Codec", "Key version", "Kept until"].includes(column) ? { hideBelow: "lg" } : {});
const Cell = (props) => h(C.Table.Cell, { verticalAlign: "top", ...props });
const Line = ({ cells, children }) => h(C.Table.Row, { bg: "transparent" }, cells?.map((cell, place) => h(Cell, { key: place }, cell)), children);

function Pages({ cursors, setCursors, next, what, further }) {
  if (!next && !cursors.length) return null;
  return h(Bar, { as: "nav", "aria-label": `Pages of ${what}`, mt: 3 },
    h(Small, { disabled: !cursors.length, onClick: () => setCursors(cursors.slice(0, -1)) }, "Previous page"),
    h(Aside, { role: "status" }, `Page ${cursors.length + 1}`),
    h(Small, { disabled: !next, onClick: () => setCursors([...cursors, next]) }, further ? "Look further" : "Next page"),
  );
}

// --- the preview

const SIZED = /^(str|bytes|list|tuple|set|frozenset|dict|int)\((\d+)(?: bits)?\)$/;
const UNITS = { str: "character", bytes: "byte", int: "bit" };

function Leaf({ value, shape }) {
  if (value === "***") return h(Mark, { palette: "red" }, "masked");
  if (Array.isArray(value)) return h(Aside, null, "0 items");
  if (typeof value === "object" && value) return h(Aside, null, "0 fields");
  const [, kind, count] = String(value).match(SIZED) ?? [];
  if (kind) return both(h(Mark, { palette: "gray" }, kind), " ", h(Aside, null, plural(Number(count), UNITS[kind] ?? "item")));
  return h(shape ? Mark : Mono, shape && { palette: "gray" }, String(value));
}

const isBranch = (value) => typeof value === "object" && value !== null && Object.keys(value).length > 0;

// Every node in the order of the page, each with the place of its parent.
function treeNodes(value) {
  const nodes = [];
  const visit = (name, child, parent, path, place, siblings) => {
    const at = nodes.length;
    nodes.push({ at, name, value: child, parent, path, place, siblings, level: parent ? parent.level + 1 : 1, branch: isBranch(child) });
    const names = isBranch(child) ? Object.keys(child) : [];
    names.forEach((key, index) => visit(key, child[key], nodes[at], `${path}[${Array.isArray(child) ? key : JSON.stringify(key)}]`, index + 1, names.length));
  };
  visit("", value, null, "", 1, 1);
  return nodes;
}

// The keys are those of the ARIA Authoring Practices Guide's tree view.
function Tree({ value, shape, label }) {
  const [nodes] = useState(() => treeNodes(value));
  const branches = nodes.filter((node) => node.branch);
  const [open, setOpen] = useState(() => new Set(nodes.length <= TREE_OPEN_AT_MOST ? branches : branches.slice(0, 1)));
  const [chosen, setChosen] = useState(nodes[0]);
  const box = useRef(null);
  const isShown = (node) => !node.parent || (open.has(node.parent) && isShown(node.parent));
  const shown = nodes.filter(isShown);
  // The chosen node may have been in a branch that is closed now.
  const current = shown.includes(chosen) ? chosen : shown[0];
  const choose = (node) => {
    if (!node) return;
    setChosen(node);
    box.current?.querySelector(`[data-at="${node.at}"]`)?.focus();
  };
  const toggle = (node) => {
    const next = new Set(open);
    if (!next.delete(node)) next.add(node);
    setOpen(next);
  };
  const onKeyDown = (event) => {
    const place = shown.indexOf(current);
    const isOpen = open.has(current);
    const flip = () => current.branch && toggle(current);
    const moves = {
      ArrowDown: () => choose(shown[place + 1]),
      ArrowUp: () => choose(shown[place - 1]),
      Home: () => choose(shown[0]),
      End: () => choose(shown[shown.length - 1]),
      ArrowRight: () => (isOpen ? choose(shown[place + 1]) : flip()),
      ArrowLeft: () => (isOpen ? flip() : choose(current.parent)),
      Enter: flip,
      " ": flip,
    };
    const move = event.ctrlKey || event.altKey || event.metaKey ? undefined : moves[event.key];
    if (!move) return;
    event.preventDefault();
    move();
  };
  const line = (node) => {
    const isOpen = open.has(node);
    const entries = node.branch && plural(Object.keys(node.value).length, Array.isArray(node.value) ? "item" : "field");
    return h(
      C.Box,
      {
        key: node.at, "data-at": node.at, role: "treeitem", tabIndex: node === current ? 0 : -1, "aria-selected": node === current,
        "aria-level": node.level, "aria-posinset": node.place, "aria-setsize": node.siblings, "aria-expanded": node.branch ? isOpen : undefined,
        ps: `${(node.level - 1) * 1.25}rem`, borderRadius: "sm", cursor: "pointer", whiteSpace: "pre-wrap", bg: node === current ? "bg.muted" : undefined,
        onClick: () => {
          choose(node);
          if (node.branch) toggle(node);
        },
      },
      h(C.Box, { as: "span", "aria-hidden": true, display: "inline-block", w: 4, color: "fg.muted", fontSize: "xs" }, node.branch ? (isOpen ? "▼" : "▶") : ""),
      node.parent && h(Mono, { color: "fg.info" }, `${node.name}: `),
      node.branch ? h(Aside, null, entries) : h(Leaf, { value: node.value, shape }),
    );
  };
  return both(
    h(Bar, { mb: 2 },
      h(Small, { onClick: () => setOpen(new Set(branches)) }, "Expand all"),
      h(Small, { onClick: () => setOpen(new Set()) }, "Collapse all"),
      h(Copy, { text: current.path, label: "Copy path", disabled: !current.path }),
      h(Mono, { color: "fg.muted", fontSize: "xs" }, current.path || "(the whole value)"),
    ),
    h(C.Box, { role: "tree", "aria-label": label, ref: box, onKeyDown, overflowX: "auto", lineHeight: 1.6 }, shown.map(line)),
  );
}

function Frame({ frame, label }) {
  const size = list([isSet(frame.rows) && plural(frame.rows, "row"), plural(frame.columns.length + frame.more, "column")]);
  return both(
    h(C.Text, { mb: 1 }, `${frame.type}: ${size}`),
    h(Grid, { label, columns: ["Column", "Type"], maxH: "20rem", maxW: "40rem" },
      frame.columns.map((column, place) => h(Line, { key: place, cells: [h(Mono, null, column.name), h(Mono, null, column.type)] })),
    ),
    frame.more > 0 && h(Muted, null, `${plural(frame.more, "column")} more`),
  );
}

function Preview({ xcom, as }) {
  const { kind, value } = xcom.preview ?? { kind: "none" };
  if (kind === "none" && !xcom.frame) return null;
  const shape = kind === "shape";
  const tree = isBranch(value) ? h(Tree, { key: JSON.stringify(value), value, shape, label: `Preview of ${xcom.key}` }) : h(Leaf, { value, shape });
  const what = kind === "masked" ? "values, with secrets masked" : "types in place of values";
  return both(
    h(Title, { as }, "Preview"),
    h(Muted, { mb: 2 }, `The preview shows ${what}. It is for people only and not authenticated: only a pull checks what it reads.`),
    xcom.frame ? h(Frame, { frame: xcom.frame, label: `Columns of ${xcom.key}` }) : tree,
  );
}

// --- reveal

const FRAME_MAX_PIXELS = 1200;
// The login opens a window, which must not inherit the sandbox: the identity provider would not work in it.
const SANDBOX = "allow-scripts allow-same-origin allow-forms allow-popups allow-popups-to-escape-sandbox allow-downloads";

// The page of the reveal service, in a frame. This page learns its height, and nothing of the value.
function Reveal({ xcom }) {
  const { origin } = xcom.reveal ?? {};
  const [open, setOpen] = useState(false);
  const [height, setHeight] = useState(180);
  const frame = useRef(null);
  useEffect(() => {
    const listen = ({ origin: from, source, data }) => {
      const told = from === origin && source === frame.current?.contentWindow && data?.secure_xcom_height;
      if (Number.isFinite(told) && told > 0) setHeight(Math.min(told, FRAME_MAX_PIXELS));
    };
    addEventListener("message", listen);
    return () => removeEventListener("message", listen);
  }, [origin]);
  if (!origin) return null;
  const scheme = document.documentElement.classList.contains("dark") ? "dark" : "light";
  const named = { dag_id: xcom.dag_id, ...rowQuery(xcom), ti_id: null, attempt: xcom.reveal.attempt, scheme };
  const src = `${origin}/#${new URLSearchParams(Object.entries(named).filter(([, value]) => isSet(value)))}`;
  const props = { ref: frame, src, height, width: "100%", title: clean(`Reveal ${xcom.key}`), sandbox: SANDBOX, allow: "clipboard-write", referrerPolicy: "no-referrer" };
  return both(
    h(Bar, { mt: 3, mb: 2 },
      h(Small, { variant: open ? "outline" : "solid", onClick: () => setOpen(!open), "aria-expanded": open, "aria-label": `${open ? "Close" : "Reveal"} ${xcom.key}` }, open ? "Close" : "Reveal"),
      h(C.Link, { href: src, target: "_blank", rel: "noopener noreferrer", color: "fg.info" }, "In a window of its own"),
    ),
    open && h(C.Box, { borderWidth: 1, borderRadius: "md", overflow: "hidden" }, h("iframe", props)),
  );
}

// --- who had it

function Access({ xcom }) {
  const [events, setEvents] = useState([]);
  const [after, setAfter] = useState("");
  const { data, error, again } = useAsk(`dags/${segment(xcom.dag_id)}/xcom/access`, { ...rowQuery(xcom), after });
  useEffect(() => {
    if (data) setEvents((before) => (after ? [...before, ...data.events] : data.events));
  }, [data]);
  if (error || (!data && !events.length)) return h(Pending, { error, again });
  const unknown = data?.source.state === "unknown";
  const partly = data?.looked && !data.looked.all;
  const by = (event) => (event.hidden ? h(Aside, null, "a task of another DAG") : event.by ? h(TaskLink, { of: event.by }) : isSet(event.operator) && event.operator);
  const line = (event, place) => {
    const why = list([event.error, event.rule, event.reason]);
    return h(Line, { key: place, cells: [h(Time, { at: event.time }), event.action, h(StateMark, { state: event.outcome }), by(event), why] });
  };
  const empty = partly ? "The access log names nobody as far as it was read." : "Nobody has had it yet.";
  return both(
    unknown ? h(Muted, null, withCode(data.source.text)) : !events.length && h(Muted, null, empty),
    events.length > 0 && h(Grid, { label: `Who had ${xcom.key}`, columns: ["Time", "Action", "Outcome", "By", "Rule, error or reason"], maxH: "24rem" }, events.map(line)),
    partly && data.looked.back_to && h(Muted, null, `Read back to ${exactTime(data.looked.back_to)}.`),
    data?.next && h(Small, { mt: 2, onClick: () => setAfter(data.next) }, "Look further back"),
    (unknown || partly) && h(Command, { title: "Search the whole access log", text: data.search_command }),
  );
}

// --- one XCom

const edge = (row) => (["plaintext", "unreadable"].includes(row.state) ? { borderInlineStartWidth: 4, borderInlineStartColor: "border.error" } : {});
const keptUntil = (row, exact) => (row.kept_until ? h(Time, { at: row.kept_until, exact }) : row.codec && "no limit");

function Marks({ row }) {
  return h(Bar, { gap: 1 },
    h(StateMark, { state: row.state, said: "state" }),
    row.compartment && h(Mark, { palette: "blue", said: "compartment" }, row.compartment),
    row.exclusive && h(Mark, { palette: "purple" }, "exclusive"),
    row.legal_hold && h(Mark, { palette: "orange" }, `legal hold ${row.legal_hold.name}`),
    row.finding_count > 0 && row.state !== "plaintext" && h(Mark, { palette: PALETTES[row.worst] }, plural(row.finding_count, "finding")),
  );
}

const claimed = (claim) => both(claim.text, " ", claim.by && h(TaskLink, { of: claim.by }), " ", h(Time, { at: claim.time }));

function Details({ xcom, eager, as }) {
  const [asked, setAsked] = useState(eager);
  const { payload } = xcom;
  const facts = [
    ["Pushed", when(xcom.pushed)],
    ["Kept until", keptUntil(xcom, true)],
    ["Shredded", when(xcom.shredded)],
    ["Sealed size", sizeText(xcom.size)],
    ["Codec", list([xcom.codec, xcom.compression !== "none" && xcom.compression])],
    ["Key", xcom.state === "shredded" ? "destroyed" : lines(xcom.keys, (key) => key.text ?? key.uri)],
    ["Attempt", xcom.attempt && attemptText(xcom.attempt)],
    ["Claim", xcom.claim && claimed(xcom.claim)],
    ["Legal hold", xcom.legal_hold && list([xcom.legal_hold.name, xcom.legal_hold.reason])],
    ["Written by", xcom.written_by && xcom.written_by.text, true],
    ["Payload", payload && both(payload.text, " ", payload.uri && h(Mono, { fontSize: "xs", color: "fg.muted" }, payload.uri)), true],
  ];
  return both(
    h(Findings, { findings: xcom.findings }),
    h(Facts, { facts }),
    h(Title, { as }, "May pull"),
    xcom.may_pull_unknown ? h(Muted, null, withCode(xcom.may_pull_unknown)) : lines(xcom.may_pull, (entry) => entry.text),
    h(Reveal, { xcom }),
    h(Preview, { xcom, as }),
    h(Title, { as }, "Who had it"),
    asked ? h(Access, { xcom }) : h(Small, { onClick: () => setAsked(true) }, "Read the access log"),
    h(Command, { title: "Open it on your own machine, with your own rights", text: xcom.open_command }),
  );
}

function Card({ xcom, opened, eager }) {
  const [open, setOpen] = useState(opened);
  const id = useId();
  useEffect(() => setOpen(opened), [opened]);
  return h(Panel, { "aria-labelledby": id, ...edge(xcom) },
    h(Bar, { mb: open ? 2 : 0 },
      h(C.Heading, { as: "h3", id, size: "sm", fontFamily: "mono" }, xcom.key),
      h(Marks, { row: xcom }),
      h(Aside, { flex: 1, textAlign: "end" }, !open && sizeText(xcom.size)),
      h(Toggle, { open, setOpen, name: xcom.key }),
    ),
    open && h(Details, { xcom, eager, as: "h4" }),
  );
}

// --- the tab

// Airflow 3.4 says by the page's address, and by a prop that comes late, which attempt is looked at. The tab
// waits for the prop, but not for ever.
function useAttempt(props, search) {
  const live = props.taskInstance;
  const [waited, setWaited] = useState(false);
  useEffect(() => {
    const timer = setTimeout(() => setWaited(true), 1500);
    return () => clearTimeout(timer);
  }, []);
  const chosen = attemptOf(Object.fromEntries(search));
  if (!("taskInstance" in props)) return [{}];
  if (!live) return [chosen, !waited];
  const isLive = !chosen.try_number || Number(chosen.try_number) === live.try_number;
  return [isLive ? { ti_id: live.id } : { ...attemptOf(live), ...chosen }];
}

function Attempts({ attempts, choose }) {
  const left = attempts.filter((attempt) => attempt.xcoms > 0);
  if (left.every((attempt) => attempt.live) && left.length < 2) return null;
  const text = (of) => `${attemptText(of)}${of.region_index >= 0 ? `, index ${of.region_index}` : ""}: ${plural(of.xcoms, "XCom")}`;
  return h(Bar, { as: "nav", "aria-label": "Attempts", mb: 3 },
    h(Muted, null, "Attempts with XComs:"),
    left.map((attempt) => h(Small, { key: attempt.ti_id, onClick: () => choose(attempt) }, text(attempt))),
  );
}

// What a form holds when it is sent.
const onSubmit = (use) => (event) => {
  event.preventDefault();
  use(Object.fromEntries(new FormData(event.currentTarget)));
};

function KeyFilter({ value, choose }) {
  return h(C.Flex, { as: "form", role: "search", "aria-label": "Find an XCom", gap: 2, onSubmit: onSubmit(({ key }) => choose(key)) },
    h(C.Input, { key: value, name: "key", defaultValue: value, size: "xs", w: "12rem", "aria-label": "Key, exact", placeholder: "Key, exact" }),
    h(Small, { type: "submit" }, "Find"),
    value && h(Small, { onClick: () => choose("") }, "All keys"),
  );
}

function tabSummary({ xcoms, count, count_is_least: least, next }, key) {
  const counted = key ? plural(xcoms.length, "XCom") : `${least ? "at least " : ""}${plural(count, "XCom")}`;
  const size = xcoms.reduce((sum, xcom) => sum + (xcom.size ?? 0), 0);
  return next || !size ? counted : `${counted}, ${sizeText(size)} sealed`;
}

function Tab(props) {
  const [search, setSearch] = Router.useSearchParams();
  const [attempt, wait] = useAttempt(props, search);
  const [all, setAll] = useState(null);
  const key = search.get("key") ?? "";
  const of = { run_id: props.runId, task_id: props.taskId, map_index: props.mapIndex ?? -1, key, ...attempt };
  const { cursors, after, setCursors } = useCursors([props.dagId, of]);
  const { data, error, loading, again } = useAsk(`dags/${segment(props.dagId)}/task-instance`, { ...of, after }, wait);
  const change = (names, values) => {
    const next = new URLSearchParams(search);
    names.forEach((name) => next.delete(name));
    Object.entries(values).forEach(([name, value]) => next.set(name, value));
    setSearch(next);
  };
  const xcoms = data?.xcoms ?? [];
  const few = xcoms.length <= OPEN_AT_MOST;
  const opened = all ?? few;
  const bad = xcoms.filter((xcom) => ["error", "warning"].includes(xcom.worst)).length;
  return both(
    h(Bar, { mb: 3 },
      h(C.Box, { role: "status", color: "fg.muted", flex: 1, minW: "12rem" },
        data && tabSummary(data, key),
        bad > 0 && h(Strong, { colorPalette: "red" }, `, ${bad} with a finding`),
      ),
      h(KeyFilter, { value: key, choose: (wanted) => change(["key"], wanted ? { key: wanted } : {}) }),
      xcoms.length > 1 && h(Small, { onClick: () => setAll(!opened) }, opened ? "Hide all" : "Show all"),
      h(To, { to: `/plugin/sealed-xcoms-browse?${new URLSearchParams({ dag_id: props.dagId, run_id: props.runId })}` }, "All of this run"),
      h(Small, { onClick: again, disabled: loading }, "Refresh"),
    ),
    data && h(Attempts, { attempts: data.attempts ?? [], choose: (wanted) => change(ATTEMPT, attemptOf(wanted)) }),
    h(Pending, { data, error, again }),
    data && !xcoms.length && h(Muted, null, key ? "No XCom has this key." : "This task instance has no XCom."),
    xcoms.map((xcom) => h(Card, { key: rowKey(xcom), xcom, opened, eager: few })),
    h(Pages, { cursors, setCursors, next: data?.next, what: "XComs" }),
  );
}

// --- the page under Browse

const FILTERS = {
  dag_id: "DAG", run_id: "Run", task_id: "Task", key: "Key", compartment: "Compartment", state: "State",
  since: "Run is due from (UTC)", until: "Run is due before (UTC)",
};
const STATES = ["sealed", "plaintext", "shredded", "expired", "unreadable"];
const filtersOf = (search) => Object.fromEntries(Object.keys(FILTERS).map((name) => [name, search.get(name) ?? ""]));
const toTime = (text) => text && `${text}${text.length === 16 ? ":00" : ""}Z`;

function Filters({ given, setSearch, about }) {
  const id = useId();
  const apply = (values) => setSearch(new URLSearchParams(Object.entries(values).filter(([, value]) => value)));
  const option = (value, text = value) => h("option", { key: value, value }, text);
  const field = (name) => {
    const props = { key: given[name], id: id + name, name, defaultValue: given[name] };
    if (name === "state") return h(C.NativeSelect.Root, { size: "sm" }, h(C.NativeSelect.Field, props, option("", "any"), STATES.map((state) => option(state))), h(C.NativeSelect.Indicator));
    const time = { type: "datetime-local" };
    return h(C.Input, { size: "sm", ...props, ...{ compartment: { list: `${id}names` }, since: time, until: time }[name] });
  };
  return h(C.Box, { as: "form", role: "search", "aria-label": "Filter XComs", onSubmit: onSubmit(apply), mb: 4 },
    h(C.Box, { display: "grid", gridTemplateColumns: { base: "1fr 1fr", lg: "repeat(4, 1fr)" }, gap: 3, mb: 2 },
      Object.entries(FILTERS).map(([name, label]) => h(C.Box, { key: name }, h(Tiny, { as: "label", htmlFor: id + name }, label), field(name))),
    ),
    h("datalist", { id: `${id}names` }, (about?.compartments ?? []).map((name) => option(name))),
    h(Bar, null,
      h(Small, { type: "submit", variant: "solid" }, "Apply"),
      h(Small, { onClick: () => apply({}) }, "Clear"),
      h(Aside, null, "Run, task and key may end in * for all that begin so."),
    ),
  );
}

function OneXcom({ row }) {
  const { data, error, again } = useAsk(`dags/${segment(row.dag_id)}/xcom`, rowQuery(row));
  return data ? h(Details, { xcom: data, eager: true, as: "h2" }) : h(Pending, { error, again });
}

function BrowseRow({ row }) {
  const [open, setOpen] = useState(false);
  const name = `${row.dag_id} / ${instanceText(row)} : ${row.key}`;
  const versions = row.state === "shredded" ? "destroyed" : list((row.keys ?? []).map((key) => key.version));
  return both(
    h(Line, null,
      h(Cell, edge(row), h(Toggle, { open, setOpen, name, size: "2xs" })),
      h(Cell, { minW: "14rem", overflowWrap: "anywhere" },
        h(To, { to: tabPath(row), fontFamily: "mono" }, name),
        h(C.Box, { fontSize: "xs" }, h(To, { to: runPath(row), color: "fg.muted" }, row.run_id), row.attempt && ` ${attemptText(row.attempt)}`),
      ),
      h(Cell, null, h(Marks, { row: { ...row, compartment: null } })),
      h(Cell, { overflowWrap: "anywhere" }, row.compartment),
      h(Cell, { whiteSpace: "nowrap" }, sizeText(row.size)),
      h(Cell, wideOnly("Codec"), row.codec),
      h(Cell, wideOnly("Key version"), versions),
      h(Cell, { whiteSpace: "nowrap" }, h(Time, { at: row.pushed })),
      h(Cell, { whiteSpace: "nowrap", ...wideOnly("Kept until") }, keptUntil(row)),
    ),
    open && h(Line, null, h(Cell, { colSpan: 9, bg: "bg.subtle", overflowWrap: "anywhere", "aria-label": `Details of ${name}` }, h(OneXcom, { row }))),
  );
}

function lookedText(looked) {
  if (looked.all) return "This is all there is.";
  return `Looked at ${plural(looked.rows, "XCom")} of ${plural(looked.runs, "run")}${looked.back_to ? `, back to ${exactTime(looked.back_to)}` : ""}.`;
}

function Browse({ search, setSearch, about }) {
  const given = filtersOf(search);
  const { cursors, after, setCursors } = useCursors(given);
  const query = { ...given, since: toTime(given.since), until: toTime(given.until), after };
  const { data, error, loading, again } = useAsk("xcoms", query);
  const rows = data?.xcoms ?? [];
  const plain = rows.filter((row) => row.state === "plaintext").length;
  const columns = ["Details", "XCom and run", "State", "Compartment", "Size", "Codec", "Key version", "Pushed", "Kept until"];
  return both(
    h(Filters, { given, setSearch, about }),
    h(Bar, { mb: 2 },
      h(C.Box, { role: "status", color: "fg.muted", flex: 1 }, data && `${plural(rows.length, "XCom")} on this page. ${lookedText(data.looked)}`),
      h(Small, { onClick: again, disabled: loading }, "Refresh"),
    ),
    plain > 0 && h(Notice, { severity: "error", text: `${plural(plain, "XCom")} on this page ${plain === 1 ? "is" : "are"} stored in plaintext.`, remedy: "Show the details: they say what wrote it and what to do." }),
    h(Pending, { data, error, again }),
    data && !rows.length && h(Muted, null, data.next ? "No match so far." : "No match."),
    rows.length > 0 && h(Grid, { label: TITLE, columns }, rows.map((row) => h(BrowseRow, { key: rowKey(row), row }))),
    h(Pages, { cursors, setCursors, next: data?.next, what: "XComs", further: !rows.length }),
  );
}

// --- compartments

const globs = (names) => names?.length > 0 && h(Mono, null, list(names));
const uris = (of) => lines(of, String, { fontFamily: "mono", fontSize: "xs" });

function numbersOf(of) {
  if (!of) return [];
  return [
    ["XComs", number(of.xcoms)],
    ["Sealed size", sizeText(of.bytes)],
    ["In plaintext", of.plaintext ? h(Mark, { palette: "red" }, number(of.plaintext)) : "0"],
    ["Expired", number(of.expired)],
    ["Unreadable", number(of.unreadable)],
    ["Key versions", isSet(of.oldest_version) && `oldest ${of.oldest_version}, newest ${of.newest_version}`],
    ["Last pull", when(of.last_pull)],
  ];
}

function Compartment({ of }) {
  const id = useId();
  const route = ({ keys, sensitive, store_uri: store, key_uris: wrapping }) => [list(keys) ?? "*", sensitive && "sensitive", store, ...(wrapping ?? [])].filter(Boolean).join(" → ");
  return h(Panel, { "aria-labelledby": id },
    h(Bar, null, h(C.Heading, { as: "h3", id, size: "sm" }, of.name), of.default && h(Mark, { palette: "gray" }, "default")),
    h(Facts, { facts: numbersOf(of.numbers) }),
    h(Facts, {
      facts: [
        ["DAGs", globs(of.dags)],
        ["Bundles", globs(of.bundles)],
        ["Teams", globs(of.teams)],
        ["Readers", lines(of.readers, (reader) => reader.text) ?? "only its own DAGs"],
        ["Runs on", lines(of.runs_on, (place) => `${place.field} ${place.value}`)],
        ["Identities", globs(of.identities)],
        ["Kept", isSet(of.retention) ? of.retention : "no limit"],
        ["Kept by key", lines(of.retention_of, (rule) => `${list(rule.keys)}: ${rule.retention ?? "no limit"}`)],
        ["Exclusive keys", Array.isArray(of.exclusive) ? globs(of.exclusive) : of.exclusive && "all"],
        ["Largest value", sizeText(of.max_bytes)],
        ["Legal holds", globs(of.legal_holds)],
        ["Wrapping keys", uris(of.key_uris), true],
        ["Store", uris(of.store_uri && [of.store_uri]), true],
        ["Former stores", uris(of.former_store_uris), true],
        ["Routes by key", lines(of.routes, route), true],
      ],
    }),
  );
}

function Section({ title, cut, items, children }) {
  if (!items?.length) return null;
  return h(C.Box, { as: "section", mb: 5 }, h(C.Heading, { as: "h2", size: "md", mb: 2 }, title), children, cut && h(Muted, null, "The list is cut here."));
}

function Policy({ data }) {
  const grant = (of) => list([`${of.as} of ${of.compartment}`, of.dags && `DAGs ${list(of.dags)}`, of.tasks && `tasks ${list(of.tasks)}`]);
  const identity = (of) => h(Line, { key: of.name, cells: [h(Mono, null, of.name), globs(of.workers_of), lines(of.principals), lines(of.grants, grant)] });
  const hold = (of) => h(Line, { key: of.name, cells: [of.name, globs(of.dags), globs(of.runs), of.reason ?? ""] });
  const section = (name, title, children) => h(Section, { title, items: data[name], cut: data.cut?.includes(name) }, children);
  const { xcoms, plaintext, unreadable } = data.outside ?? {};
  return both(
    xcoms > 0 && h(Notice, { severity: "warning", text: `${plural(xcoms, "XCom")} of no compartment: ${plaintext} in plaintext, ${unreadable} unreadable.` }),
    section("findings", "Findings", h(Findings, { findings: data.findings })),
    section("compartments", "Compartments", data.compartments.map((of) => h(Compartment, { key: of.name, of }))),
    section("identities", "Identities", h(Grid, { label: "Identities", columns: ["Identity", "Workers of", "Principals", "Granted"] }, data.identities?.map(identity))),
    section("legal_holds", "Legal holds", h(Grid, { label: "Legal holds", columns: ["Hold", "DAGs", "Runs", "Reason"] }, data.legal_holds?.map(hold))),
  );
}

function Compartments() {
  const { cursors, after, setCursors } = useCursors([]);
  const { data, error, again } = useAsk("compartments", { after });
  const remedy = "The access policy is for people who may read Airflow's connections and configuration.";
  if (!data) return h(Pending, { error: error?.status === 403 ? { ...error, remedy } : error, again });
  return both(
    h(C.Box, { mb: 4 },
      h(C.Text, null, "The access policy in force: ", withCode([data.policy.text || data.policy.state, data.policy.remedy].join(" "))),
      data.policy.digest && h(Tiny, null, `SHA-256 ${data.policy.digest}`),
      h(Muted, null, data.counted ? `Numbers counted ${relativeTime(data.counted)}, ${exactTime(data.counted)}.` : withCode(data.counted_text || "The numbers were never counted.")),
    ),
    h(Policy, { data }),
    h(Pages, { cursors, setCursors, next: data.next, what: "compartments" }),
  );
}

function Page() {
  const [search, setSearch] = Router.useSearchParams();
  const { data: about, error, again } = useAsk("about", {});
  const view = search.get("view") === "compartments" ? "compartments" : "xcoms";
  useEffect(() => {
    document.title = `${TITLE} - Airflow`;
    return () => {
      document.title = "Airflow";
    };
  }, []);
  const link = (name, text, to) => h(C.Button, { size: "sm", variant: view === name ? "solid" : "ghost", asChild: true }, h(Router.Link, { to, "aria-current": view === name ? "page" : undefined }, text));
  const views = about?.may.compartments && h(Bar, { as: "nav", "aria-label": TITLE }, link("xcoms", "XComs", "?"), link("compartments", "Compartments", "?view=compartments"));
  return both(
    h(Bar, { gap: 4, mb: 3 }, h(C.Heading, { as: "h1", size: "lg" }, TITLE), views),
    error && h(Failure, { error, again }),
    h(Findings, { findings: about?.notices }),
    view === "compartments" ? h(Compartments) : !error && h(Browse, { search, setSearch, about }),
  );
}

// --- start

class Boundary extends (React.Component ?? Object) {
  state = {};

  static getDerivedStateFromError(error) {
    return { error };
  }

  render() {
    const { error } = this.state;
    return error ? h(Failure, { error: { detail: "The page does not understand an answer.", remedy: String(error) } }) : this.props.children;
  }
}

const missing = Object.entries(NEEDED).flatMap(([name, [from, parts]]) => parts.split(" ").filter((part) => !(part in from)).map((part) => `${name}.${part}`));

function SealedXComs(props) {
  if (missing.length) return `${TITLE} needs Airflow 3.2 or later: this page does not offer ${missing.join(", ")}. [secure_xcom] ui = False hides it.`;
  const { dagId, runId, taskId, mapIndex } = props;
  const isTab = isSet(dagId) && isSet(taskId);
  return h(C.Box, { ...(isTab ? { p: 2 } : { p: 4, h: "100%", overflowY: "auto" }), fontSize: "sm", overflowWrap: "anywhere", "data-testid": "secure-xcom" },
    h(Boundary, { key: JSON.stringify([dagId, runId, taskId, mapIndex]) }, h(isTab ? Tab : Page, props)),
  );
}

// Airflow imports the module once and asks for these globals before it asks for the module again.
globalThis[TITLE] = SealedXComs;
globalThis.AirflowPlugin = SealedXComs;
