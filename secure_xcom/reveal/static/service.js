// What the page asks the reveal service for.

import { Problem } from "./problems.js";

/** Return how this service works: who opens values, where people log in, and its limits. */
export const readConfig = () => ask("/config.json", {});

/**
 * Ask for an XCom. The service writes the event before it answers.
 *
 * @param {string} token says who the person is
 * @param {Object} request `coordinate`, `attempt`, `reason`
 */
export function askForXcom(token, request) {
  const headers = { "Content-Type": "application/json", Authorization: `Bearer ${token}` };
  return ask("/v1/reveal", { method: "POST", headers, body: JSON.stringify(request) });
}

/** Exchange what a login gave for a token of the service: `{token, person, expires_in}`. */
export function beginSession(login) {
  return ask("/v1/session", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(login) });
}

async function ask(path, options) {
  const answer = await fetch(path, { ...options, cache: "no-store", credentials: "omit", redirect: "error" }).catch(() => null);
  const body = await answer?.json().catch(() => null);
  if (answer?.ok && body) return body;
  const by = "the reveal service";
  if (!body?.error) throw new Problem("ServiceUnavailable", answer ? `the reveal service answers HTTP ${answer.status}` : "the reveal service does not answer", { by });
  const [name, what, where, remedy] = ["error", "what", "where", "remedy"].map((part) => String(body[part] ?? "").slice(0, 1000));
  throw new Problem(name, what, { where, remedy, by });
}
