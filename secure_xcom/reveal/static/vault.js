// What the page asks Vault or OpenBao for, with a token of the person's own that nobody else gets.

import { Problem } from "./problems.js";
import { vaultContext, fromBase64 } from "./reading.js";

const WRAPPED = /^vault:v[1-9]\d{0,9}:[A-Za-z0-9+/]+={0,2}$/;
const PATH = /^(?!.*(?:^|\/)\.{1,2}(?:\/|$))[A-Za-z0-9_.-]+(?:\/[A-Za-z0-9_.-]+)*$/;
const path = (text) => {
  if (typeof text !== "string" || !PATH.test(text)) throw new Problem("ContextRefused", "the reveal service names a mount or key that cannot be one");
  return text;
};

/** A person's login at Vault. The token and the nonce live here and nowhere else, and end with `forget`. */
export class VaultLogin {
  #config;
  #nonce = crypto.randomUUID() + crypto.randomUUID();
  #token = null;

  constructor(config) {
    this.#config = config;
  }

  /** Return the address at the identity provider where the person logs in, and the login's state. */
  async begin() {
    const body = { role: this.#config.role, redirect_uri: `${location.origin}/callback`, client_nonce: this.#nonce };
    const { data } = await this.#ask("POST", `auth/${path(this.#config.auth_mount)}/oidc/auth_url`, { body, what: "begin a login" });
    const url = data?.auth_url || "";
    const state = url && new URL(url).searchParams.get("state");
    if (!state) throw new Problem("LoginRefused", "Vault does not begin a login for this page", { by: "Vault", remedy: "Apply the access policy: the role's redirect address must be this page's /callback." });
    return { url, state };
  }

  /** Turn the provider's code into a token, and the token into an identity token for the reveal service. */
  async finish({ code, state }) {
    const query = new URLSearchParams({ state, code, client_nonce: this.#nonce });
    const login = await this.#ask("GET", `auth/${path(this.#config.auth_mount)}/oidc/callback?${query}`, { what: "finish the login", refused: "LoginRefused" });
    this.#token = login.auth?.client_token ?? null;
    if (!this.#token) throw new Problem("LoginRefused", "Vault gave no token", { by: "Vault" });
    const { data } = await this.#ask("GET", `identity/oidc/token/${path(this.#config.token_role)}`, { what: "give an identity token" });
    return data.token;
  }

  /**
   * Return the data key of a checked head: the first of its wraps that Vault unwraps for this person.
   *
   * The context is made of the head here, and not taken from the service.
   */
  async unwrap(head, wraps) {
    const context = await vaultContext(head);
    let failure = new Problem("ContextRefused", "the reveal service gave no wrap of an allowed key");
    for (const { mount, key, wrapped } of wraps) {
      if (!WRAPPED.test(wrapped)) throw new Problem("UnwrapRefused", "a wrap that is not in Vault's form");
      try {
        const { data } = await this.#ask("POST", `${path(mount)}/decrypt/${path(key)}`, { body: { ciphertext: wrapped, context }, what: "unwrap the data key", refused: "UnwrapRefused" });
        return fromBase64(data.plaintext, "the data key");
      } catch (error) {
        failure = error;
      }
    }
    throw failure;
  }

  /** End the token at Vault, and forget it. */
  async forget() {
    const token = this.#token;
    [this.#token, this.#nonce] = [null, ""];
    if (token) await this.#send("POST", "auth/token/revoke-self", { token, keepalive: true }).catch(() => null);
  }

  async #ask(method, where, { body, what, refused = "KeyServiceDenied" }) {
    const answer = await this.#send(method, where, { body, token: this.#token });
    const address = this.#config.address;
    if (!answer) throw new Problem("KeyServiceUnavailable", `this browser gets no answer from Vault at ${address}: it is down, its certificate is not trusted here, or its CORS settings leave this page out`, { by: "Vault" });
    if (answer.ok) return answer.json();
    const said = (await answer.json().catch(() => null))?.errors?.join("; ").slice(0, 300) ?? "";
    const name = answer.status === 403 ? "KeyServiceDenied" : answer.status >= 500 || answer.status === 429 ? "KeyServiceUnavailable" : refused;
    throw new Problem(name, `Vault does not ${what} (HTTP ${answer.status})`, { by: "Vault", where: said });
  }

  #send(method, where, { body, token, keepalive }) {
    const headers = {};
    if (token) headers["X-Vault-Token"] = token;
    if (this.#config.namespace) headers["X-Vault-Namespace"] = this.#config.namespace;
    const options = { method, headers, keepalive, body: body && JSON.stringify(body), credentials: "omit", cache: "no-store", redirect: "error", referrerPolicy: "no-referrer" };
    return fetch(`${this.#config.address}/v1/${where}`, options).catch(() => null);
  }
}
