// The page that reveals one XCom: it asks why, lets the person log in, and shows the value for a minute.
//
// The address's fragment names the XCom and nothing else. Values and tokens are in this page's memory only: nothing is
// stored, and what is hidden is dropped.

import { HereLogin, takeCode } from "./here.js";
import { OidcLogin } from "./oidc.js";
import { explain, Problem } from "./problems.js";
import { clean } from "./readable.js";
import { checkHead, COORDINATE, fromBase64, openPayload } from "./reading.js";
import { askForXcom, readConfig } from "./service.js";
import { decompressed, show } from "./shown.js";
import { element } from "./tree.js";
import { VaultLogin } from "./vault.js";
import { codeFrom, openLoginWindow } from "./window.js";

const page = document.getElementById("page");
const statusLine = document.getElementById("status");
const say = (text) => (statusLine.textContent = text);
const REASON_MAX_CHARACTERS = 500;

const given = new URLSearchParams(location.hash.slice(1));
takeCode(given);
const coordinate = Object.fromEntries(COORDINATE.map((name) => [name, given.get(name) ?? ""]));
coordinate.map_index = given.get("map_index") || "-1";
coordinate.key = given.get("key") || "return_value";
const attempt = given.get("attempt") || null;
if (["dark", "light"].includes(given.get("scheme"))) document.documentElement.dataset.scheme = given.get("scheme");
document.documentElement.classList.toggle("framed", window !== window.parent);

const place = () => {
  const mapped = coordinate.map_index === "-1" ? "" : `[${coordinate.map_index}]`;
  return clean(`${coordinate.dag_id} / ${coordinate.run_id} / ${coordinate.task_id}${mapped} : ${coordinate.key}`);
};

// --- what the page looks like

const button = (text, onclick, properties = {}) => element("button", { type: "button", onclick, ...properties }, text);

const TEXTS = {
  browser: ["The value is opened ", element("strong", {}, "in this browser"), ", with your own rights at Vault. Neither Airflow nor any server sees it. Your name, the time and the reason go into the access log first."],
  service: ["The value is opened ", element("strong", {}, "by the reveal service"), " and sent to this browser. Airflow does not see it. Your name, the time and the reason go into the access log first."],
  here: ["The value is opened ", element("strong", {}, "on this computer"), ", with your own rights. Your name, the time and the reason go into the access log first."],
};
const BUTTONS = { browser: "Log in to Vault and reveal", service: "Log in and reveal", here: "Reveal" };

function ask(config, { problem, note, reason = "" } = {}) {
  const input = element("input", { id: "reason", name: "reason", required: true, maxlength: REASON_MAX_CHARACTERS, autocomplete: "off", "aria-describedby": "what" });
  input.value = reason;
  const form = element("form", {
    onsubmit: (event) => {
      event.preventDefault();
      if (input.value.trim()) reveal(config, input.value.trim());
    },
  },
  element("label", { for: "reason" }, "Why do you look at it?"), input, element("button", { class: "main" }, BUTTONS[config.mode]));
  const texts = TEXTS[config.mode].map((part) => (typeof part === "string" ? part : part.cloneNode(true)));
  page.replaceChildren(...(problem ? [problemBox(problem)] : []), ...(note ? [element("p", { class: "note" }, note)] : []),
    element("p", { class: "place" }, place()), element("p", { id: "what" }, ...texts), form);
  if (problem || note) input.focus();
}

function problemBox(error) {
  const { name, message, where, by, remedy } = explain(error);
  return element("div", { class: "problem", role: "alert" },
    element("p", {}, element("strong", {}, clean(name)), `: ${clean(message)}.`),
    where && element("p", {}, clean(where)), remedy && element("p", {}, clean(remedy)), element("p", { class: "by" }, `Refused by ${by}.`));
}

function working(text, cancel) {
  say(text);
  page.replaceChildren(element("p", { class: "place" }, place()), element("p", {}, text), button("Cancel", cancel));
}

// --- the order of the steps

const STEPS = { browser: openHere, service: openThere, here: openThere };

async function reveal(config, reason) {
  const stop = new AbortController();
  let login = null;
  try {
    const login_window = config.mode === "here" ? null : openLoginWindow();
    login = loginOf(config);
    if (login_window) working("Waiting for your login in the window that opened ...", () => stop.abort());
    const token = await identify(login, login_window, stop.signal);
    working("Opening the value ...", () => stop.abort());
    const answer = await askForXcom(token, { coordinate: { ...coordinate, map_index: Number(coordinate.map_index) }, attempt, reason });
    checkHead(answer.head, { ...coordinate, attempt });
    const bytes = await STEPS[config.mode](answer, login, config.max_bytes);
    const shown = await show(bytes, answer.head, answer.sensitive ?? {}, say);
    stop.signal.throwIfAborted();
    present(config, answer, bytes, shown);
  } catch (error) {
    ask(config, stop.signal.aborted ? { note: "Nothing was shown.", reason } : { problem: error, reason });
  } finally {
    login?.forget();
  }
}

function loginOf(config) {
  if (config.mode === "browser") return new VaultLogin(config.vault);
  return config.mode === "service" ? new OidcLogin(config.oidc) : new HereLogin();
}

async function identify(login, login_window, signal) {
  if (!login_window) return login.identityToken();
  try {
    return await login.finish(await codeFrom(login_window, login.begin(), signal));
  } finally {
    login_window.close();
  }
}

async function openHere(answer, login, maxBytes) {
  const dataKey = await login.unwrap(answer.head, answer.wraps);
  try {
    return decompressed(await openPayload(answer, dataKey), answer.head.compression, maxBytes);
  } finally {
    dataKey.fill(0);
  }
}

async function openThere(answer) {
  return fromBase64(answer.data, "the value");
}

// --- a value on the screen

function present(config, answer, bytes, { view, file }) {
  const seconds = config.hide_after_seconds;
  let until = Date.now() + seconds * 1000;
  const left = element("span", { class: "left" });
  const tell = element("span", { class: "told" });
  const told = (text) => (say(text), (tell.textContent = text));
  const left_out = (masked) => (masked ? ` Fields that are still masked are ***: ${masked}.` : "");
  const size = bytes.length.toLocaleString("en-US");
  const proof = config.mode === "browser" ? `authentic, ${size} bytes, opened in this browser by ` : `${size} bytes, opened for `;

  const hide = (note) => {
    clearInterval(tick);
    clearTimeout(timer);
    ending.abort();
    bytes.fill(0);
    ask(config, { note });
    say(note);
  };
  const count = () => {
    const rest = Math.ceil((until - Date.now()) / 1000);
    if (rest <= 0) hide("The value was hidden because its time was up.");
    else left.textContent = `hidden in ${rest} s`;
  };
  // A hidden tab's intervals are slowed down; the time-out is for it, and a page that is put away hides at once.
  const ending = new AbortController();
  const tick = setInterval(count, 1000);
  let timer = setTimeout(count, seconds * 1000);
  document.addEventListener("visibilitychange", count, { signal: ending.signal });
  addEventListener("pagehide", () => hide("The value was hidden."), { signal: ending.signal });
  document.addEventListener("freeze", () => hide("The value was hidden."), { signal: ending.signal });

  const longer = () => {
    until = Date.now() + seconds * 1000;
    clearTimeout(timer);
    timer = setTimeout(count, seconds * 1000);
    count();
    told(`The value is shown for ${seconds} more seconds.`);
  };
  const copy = async () => {
    const { parts, masked, type } = file();
    if (type !== "application/json") return told("This value is no text: save it.");
    const done = await toClipboard(parts[0]);
    return told(done ? `Copied.${left_out(masked)}` : "Not copied: the browser does not let this page copy.");
  };
  const save = () => {
    const { name, type, parts, masked, whole } = file();
    if (whole && masked) return told("Not saved: the file would have what is still masked. Show it first.");
    const address = URL.createObjectURL(new Blob(parts, { type }));
    element("a", { href: address, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(address), 1000);
    return told(`Saved as ${name}.${left_out(masked)}`);
  };
  page.replaceChildren(
    element("div", { class: "bar" },
      element("span", { class: "facts" }, proof, element("b", {}, clean(answer.person))), left,
      button("Copy", copy), button("Save", save), button("Show longer", longer), button("Hide now", () => hide("The value was hidden."))),
    element("p", { class: "place" }, place()), tell, view);
  count();
  say(`The value is shown and hidden in ${seconds} seconds.`);
  (view.querySelector?.("[tabindex='0']") ?? view).focus?.();
}

async function toClipboard(text) {
  const written = await navigator.clipboard?.writeText(text).then(() => true, () => false);
  if (written) return true;
  // Without HTTPS, or where the framing page does not pass the right on, there is no clipboard API.
  const area = element("textarea");
  area.value = text;
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  return done;
}

// --- start

async function start() {
  try {
    for (const name of ["dag_id", "run_id", "task_id"]) {
      if (!coordinate[name]) throw new Problem("CoordinateInvalid", "the address names no XCom", { remedy: "Start from the Reveal button beside the XCom in Airflow's page." });
    }
    if (!/^(?:-1|0|[1-9]\d{0,9})$/.test(coordinate.map_index)) throw new Problem("CoordinateInvalid", "the address names no map index");
    const config = await readConfig();
    // Airflow's page makes the frame as high as the page is; it learns this number and nothing else.
    if (window !== window.parent && config.airflow_origin) {
      const height = () => window.parent.postMessage({ secure_xcom_height: Math.ceil(document.documentElement.getBoundingClientRect().height) }, config.airflow_origin);
      new ResizeObserver(height).observe(document.documentElement);
    }
    ask(config);
  } catch (error) {
    page.replaceChildren(problemBox(error));
  }
}

await start();
