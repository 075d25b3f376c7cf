// A value as a tree with one tab stop. The keys are those of the ARIA Authoring Practices Guide's tree view. Lines of
// a branch are made when it is opened, so that a large value costs no more than what is looked at.

import { clean, readable, unwrap } from "./readable.js";

const PAGE = 200; // Parts of a branch that are shown at once.
const OPEN_AT_MOST = 60; // A value of fewer parts is opened whole.
const TEXT_MAX_CHARACTERS = 20_000;

/** Return an element of this name, with properties and children; what is text becomes a text node and nothing else. */
export function element(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value !== undefined && value !== null && value !== false) made.setAttribute(key, value === true ? "" : String(value));
  }
  made.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

const plural = (count, name) => `${count.toLocaleString("en-US")} ${name}${count === 1 ? "" : "s"}`;

/** The parts of a value that are masked until somebody shows them. */
export class Masks {
  #shown = new Set();
  #masked = new Set();

  /**
   * @param {Object} value the parsed value
   * @param {Function} hides tells whether a name, and whether the value is a number, say that it is secret
   * @param {boolean} all whether the whole value is secret
   */
  constructor(value, hides, all) {
    if (all) this.#masked.add(value);
    const stack = [value];
    while (stack.length) {
      const parent = stack.pop();
      const wrapped = parent.kind === "object" && unwrap(parent);
      if (wrapped && hides(wrapped.classname.slice(wrapped.classname.lastIndexOf(".") + 1), false)) this.#masked.add(parent);
      for (const [child, secret] of parts(parent, hides)) {
        if (secret) this.#masked.add(child);
        stack.push(child);
      }
    }
  }

  isMasked = (value) => this.#masked.has(value) && !this.#shown.has(value);
  show = (value) => this.#shown.add(value);

  /** Return how many masked parts there are in what is shown. */
  get count() {
    return this.#masked.size - this.#shown.size;
  }
}

const LABELS = ["name", "key", "field", "header"];
const LABELLED = ["value", "val", "default", "data"];

// What lies below a value, each with whether this value says that it is secret: by its name, by a label beside it
// ({"name": "password", "value": ...}), or in a pair (["password", ...]).
function* parts(value, hides) {
  const secret = (name, child) => child.kind !== "word" && hides(name, child.kind === "number");
  if (value.kind === "list") {
    const pairs = value.items.map(pairOf);
    for (const item of value.items) yield [item, false];
    if (pairs.every(Boolean)) for (const [name, child] of pairs) if (secret(name.text, child)) yield [child, true];
  }
  if (value.kind !== "object") return;
  const wrapped = unwrap(value);
  if (wrapped?.data) yield [wrapped.data, false];
  if (wrapped) return;
  const labelled = value.entries.some(([name, child]) => LABELS.includes(name) && child.kind === "text" && hides(child.text, false));
  for (const [name, child] of value.entries) yield [child, secret(name, child) || (labelled && LABELLED.includes(name))];
}

function pairOf(item) {
  const data = item.kind === "object" ? unwrap(item)?.data : item;
  return data?.kind === "list" && data.items.length === 2 && data.items[0].kind === "text" ? data.items : null;
}

/**
 * Return a tree of a value.
 *
 * @param {Object} value the parsed value
 * @param {Masks} masks what is masked in it
 * @param {Function} say tells a screen reader what changed
 */
export function tree(value, masks, label, say = () => {}) {
  const root = element("div", { role: "tree", "aria-label": label, class: "tree" });
  const top = { name: "", value, level: 1, place: 1, siblings: 1 };
  let current = top;

  const isBranch = (node) => !node.rest && !masks.isMasked(node.value) && node.look.children?.length > 0;

  function line(node) {
    node.line ??= element("div", { role: "treeitem", tabindex: node === current ? 0 : -1, onclick: () => (choose(node), act(node)) });
    node.line.style.setProperty("--level", node.level - 1);
    lines.set(node.line, node);
    const attributes = { "aria-level": node.level, "aria-posinset": node.place, "aria-setsize": node.siblings, "aria-selected": node === current };
    for (const [name, value] of Object.entries(attributes)) node.line.setAttribute(name, value);
    if (isBranch(node)) node.line.setAttribute("aria-expanded", Boolean(node.open));
    const marker = isBranch(node) ? (node.open ? "\u25bc" : "\u25b6") : "";
    node.line.replaceChildren(element("span", { class: "marker", "aria-hidden": "true" }, marker), ...words(node));
    return node.line;
  }

  function words(node) {
    if (node.rest) return [element("span", { class: "count" }, `${plural(node.rest.length, "part")} more: show`)];
    const name = node === top ? null : element("span", { class: "name" }, `${clean(node.name)}: `);
    if (masks.isMasked(node.value)) return [name ?? "", element("span", { class: "masked" }, "masked: show")];
    node.look ??= readable(node.value);
    const { type, text, kind, children, ordered } = node.look;
    const badge = type ? element("span", { class: "type" }, `${clean(type)} `) : "";
    if (children) return [name ?? "", badge, element("span", { class: "count" }, plural(children.length, ordered ? "item" : "field"))];
    const cut = text.length > TEXT_MAX_CHARACTERS ? element("span", { class: "count" }, ` ... ${plural(text.length - TEXT_MAX_CHARACTERS, "character")} more: copy or save them`) : "";
    return [name ?? "", badge, element("span", { class: kind ?? "text" }, clean(text.slice(0, TEXT_MAX_CHARACTERS))), cut];
  }

  const lines = new WeakMap();
  const lastLine = (node) => (node.open && node.children?.length ? lastLine(node.children.at(-1)) : node.line);

  function add(parent, entries, from) {
    const page = entries.slice(0, PAGE);
    const siblings = parent.look.children.length;
    const made = page.map(([name, child], index) => ({ name, value: child, level: parent.level + 1, place: from + index + 1, siblings, parent, look: readable(child) }));
    if (entries.length > PAGE) made.push({ rest: entries.slice(PAGE), from: from + PAGE, level: parent.level + 1, place: from + PAGE + 1, siblings, parent });
    lastLine(parent).after(...made.map(line));
    parent.children.push(...made);
    return made;
  }

  function open(node) {
    if (!isBranch(node) || node.open) return;
    Object.assign(node, { open: true, children: [] });
    line(node);
    add(node, node.look.children, 0);
  }

  function close(node) {
    if (!node.open) return;
    for (const child of node.children) {
      close(child);
      child.line.remove();
    }
    Object.assign(node, { open: false, children: [] });
    line(node);
  }

  function act(node) {
    if (node.rest) {
      node.parent.children.pop();
      node.line.remove();
      choose(add(node.parent, node.rest, node.from)[0]);
    } else if (masks.isMasked(node.value)) {
      masks.show(node.value);
      line(node);
      say(`${clean(node.name) || "The value"} is shown.`);
      open(node);
    } else if (node.open) close(node);
    else open(node);
  }

  function choose(node) {
    if (!node) return;
    const before = current;
    current = node;
    for (const changed of [before, node]) {
      changed.line.tabIndex = changed === node ? 0 : -1;
      changed.line.setAttribute("aria-selected", changed === node);
    }
    node.line.focus();
  }

  root.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    // The chosen line may have been in a branch that is closed now.
    const node = current.line.isConnected ? current : top;
    const moves = {
      ArrowDown: () => choose(lines.get(node.line.nextElementSibling)),
      ArrowUp: () => choose(lines.get(node.line.previousElementSibling)),
      Home: () => choose(top),
      End: () => choose(lines.get(root.lastElementChild)),
      ArrowRight: () => (node.open ? choose(node.children[0]) : open(node)),
      ArrowLeft: () => (node.open ? close(node) : choose(node.parent)),
      Enter: () => act(node),
      " ": () => act(node),
    };
    if (!Object.hasOwn(moves, event.key)) return;
    event.preventDefault();
    moves[event.key]();
  });

  top.look = readable(value);
  root.append(line(top));
  const openAll = (node, left) => {
    open(node);
    return (node.children ?? []).reduce((rest, child) => (rest > 0 ? openAll(child, rest) : rest), left - (node.children?.length ?? 0));
  };
  if (size(value, OPEN_AT_MOST) <= OPEN_AT_MOST) openAll(top, OPEN_AT_MOST);
  else open(top);
  return root;
}

// How many parts a value has; it counts no further than one more than `most`.
function size(value, most) {
  let count = 0;
  const stack = [value];
  while (stack.length && count <= most) {
    count += 1;
    stack.push(...(readable(stack.pop()).children ?? []).slice(0, most + 1).map(([, child]) => child));
  }
  return count;
}
