// A person's login at the company's OpenID Connect provider: the authorization code flow with PKCE (RFC 7636). The
// service exchanges the code and checks the ID token, which never comes to this page.

import { beginSession } from "./service.js";

/** One login. The verifier and the nonce live here and nowhere else, and end with `forget`. */
export class OidcLogin {
  #config;
  #verifier = random();
  #nonce = random();

  constructor(config) {
    this.#config = config;
  }

  /** Return the address at the identity provider where the person logs in, and the login's state. */
  async begin() {
    const state = random();
    const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(this.#verifier));
    const url = new URL(this.#config.authorization_endpoint);
    const parameters = {
      response_type: "code",
      client_id: this.#config.client_id,
      redirect_uri: `${location.origin}/callback`,
      scope: this.#config.scopes,
      state,
      nonce: this.#nonce,
      code_challenge: base64url(new Uint8Array(digest)),
      code_challenge_method: "S256",
    };
    for (const [name, value] of Object.entries(parameters)) url.searchParams.set(name, value);
    return { url: url.href, state };
  }

  /** Turn the provider's code into a token of the reveal service. */
  async finish({ code }) {
    const { token } = await beginSession({ code, code_verifier: this.#verifier, nonce: this.#nonce });
    return token;
  }

  forget() {
    [this.#verifier, this.#nonce] = ["", ""];
  }
}

const random = () => base64url(crypto.getRandomValues(new Uint8Array(32)));
const base64url = (bytes) => btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
