// The window in which a person logs in. It tells its code to this page only: by a message where the provider lets it
// keep its opener, else (Cross-Origin-Opener-Policy) by the rendezvous at the reveal service.

import { Problem } from "./problems.js";

const READY_MS = 20_000;
const LOGIN_MS = 120_000;

/** Open the window. This needs the person's click, so nothing may be waited for before it. */
export function openLoginWindow() {
  const opened = window.open("/login", "_blank", "popup,width=520,height=700");
  if (!opened) throw new Problem("WindowBlocked", "the browser did not open the window for the login");
  return opened;
}

/**
 * Send the window to the provider, and return `{code, state}` when the person has logged in.
 *
 * @param {Window} opened from openLoginWindow
 * @param {Promise<{url: string, state: string}>} begun where to log in
 * @param {AbortSignal} signal ends the wait
 */
export async function codeFrom(opened, begun, signal) {
  const ready = message(opened, (data) => data.ready === true, READY_MS, signal);
  const [{ url, state }] = await Promise.all([begun, ready]);
  opened.postMessage({ url, state }, location.origin);
  const stop = new AbortController();
  const either = AbortSignal.any([signal, stop.signal]);
  try {
    const answer = await Promise.any([message(opened, (data) => data.state === state, LOGIN_MS, either), rendezvous(state, either)]);
    if (answer.error) throw new Problem("LoginRefused", "the identity provider refused the login", { where: String(answer.error).slice(0, 100), by: "the identity provider" });
    return { code: String(answer.code), state };
  } catch (error) {
    if (error instanceof AggregateError) throw error.errors.find((each) => each instanceof Problem) ?? error.errors[0];
    throw error;
  } finally {
    stop.abort();
  }
}

// A message of this very window, from a page of this origin.
function message(from, is, patience, signal) {
  return new Promise((resolve, reject) => {
    const end = new AbortController();
    const finish = (settle, result) => {
      end.abort();
      clearTimeout(timer);
      settle(result);
    };
    const timer = setTimeout(() => finish(reject, unfinished()), patience);
    signal.addEventListener("abort", () => finish(reject, unfinished()), { signal: end.signal });
    const listen = ({ origin, source, data }) => origin === location.origin && source === from && data && is(data) && finish(resolve, data);
    addEventListener("message", listen, { signal: end.signal });
  });
}

// The service holds a code for two minutes, gives it once, and answers without one while it waits.
async function rendezvous(state, signal) {
  const until = Date.now() + LOGIN_MS;
  while (Date.now() < until && !signal.aborted) {
    const answer = await fetch(`/v1/logins/${encodeURIComponent(state)}`, { cache: "no-store", credentials: "omit", signal }).catch(() => null);
    const body = answer?.status === 200 ? await answer.json().catch(() => null) : null;
    if (body?.code) return { ...body, state };
    await new Promise((resolve) => setTimeout(resolve, answer?.status === 204 ? 0 : 1000));
  }
  throw unfinished();
}

const unfinished = () => new Problem("LoginNotFinished", "the login was not finished");
