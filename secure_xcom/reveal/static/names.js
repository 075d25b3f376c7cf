// Which names say that what they name is secret: secure_xcom/core/masking/sensitive_names.py and name_exceptions.py
// once more, for values that no server sees. tests/unit/reveal compares both, name by name.

// A single word shorter than this turns up by chance when words are joined.
const JOINED_WORD_MIN = 8;
// The patterns of exceptions take time by the square of a name's length, and names are a value's.
const EXCEPTION_MAX_CHARACTERS = 1000;
const COUNTED = /(?:tokens|secrets|passwords|keys)$/;

const OTHER_WORDS = new RegExp(
  "(?:de)?tokeni[sz](?:ers?|e[ds]?|ing|ations?)|(?:under)?secretar(?:y|ies|ial|iats?)|secretions?|secretory|passwordless", "g");
const DESCRIPTION = new RegExp(
  "_(?:types?|kind|format|encoding|alg|algorithms?|scheme|methods?|mode|scopes?|audience|issuer|supported|status" +
  "|names?|namespace|path|arn|refs?|versions?|engine|backend|policy|policies|rules|requirements|strategy" +
  "|counts?|length|len|size|limits?|quota|budget|usage|cost|price|rate|ratio|percent|logprobs?|probability" +
  "|ttl|lifetime|age|duration|timeout|expiry|expiration|expires|expires_in|expires_on|at|date|time|timestamp" +
  "|seconds|minutes|hours|days|ms|per_(?:sec|second|min|minute|hour|day|month|request|call))$");
const ENDINGS = new RegExp(
  "(?:^|_)(?:" +
  "(?:(?:next_?)?page|paging|pagination|next|next_?sync|continuation|starting|resume|resumption|delta|skip|scroll|cursor" +
  "|change|idempotency|client_?request)_?tokens?" +
  "|(?:max|min|total|num|n|avg|average|prompt|completion|input|output|generated|cached|reasoning|prediction|audio" +
  "|text|image|thinking|special|stop)(?<middle>(?:_?[a-z0-9]+)??)_?tokens(?:_details|_to_sample)?" +
  "|(?:eos|bos|pad|unk|sep|cls|mask|stop|decoder_start)_token(?:_ids?)?|(?:per|to_first)(?:_input|_output|_generated)?_token" +
  "|tokens_(?:used|remaining|left|total|max|min)|token_(?:type_)?ids" +
  "|(?:api|private|service)_?key_id|service_account_(?:id|email)|image_?pull_?secrets?|proxy_(?:host|port)" +
  "|(?:token|authorization)_(?:url|uri|endpoint)" +
  ")$");
const LINK = new RegExp(
  "(?:reset|invite|invitation|confirm|confirmation|magic|login|share|shared|signed|presigned|verification|verify" +
  "|activation|activate|unlock|unsubscribe|subscription|download|upload|feed|callback|webhook|registration" +
  "|register|signup|temporary|one_time)_[\\p{L}\\p{N}_]*_(?:url|uri|endpoint)$", "u");
const CREDENTIAL = new RegExp(
  "_(?:access|api|auth|bearer|bot|client|csrf|device|id|jwt|login|oauth|push|refresh|session|sso|user)$");

const strip = (text) => text.replace(/^_+|_+$/g, "");
const words = (text) => text.replace(/(?:[^\p{L}\p{N}_]|_)+/gu, "_").toLowerCase();
const snake = (name) => words(name.trim().replace(/([A-Z]+)([A-Z][a-z])/g, "$1_$2").replace(/([a-z0-9])([A-Z])/g, "$1_$2"));
const escaped = (text) => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");

/**
 * Return a function that tells whether a value is secret under a name.
 *
 * @param {{names: string[], listed?: string[], exceptions?: string[]}} sensitive as the service gives it: `listed`
 *     names have no exception of our own, and `exceptions` are names and globs that the deployment lists
 */
export function sensitiveNames({ names = [], listed = [], exceptions = [] }) {
  const set = (of) => {
    const plain = [...new Set(of.map(snake))].filter(strip);
    const joined = plain.filter((name) => strip(name).includes("_") || name.replaceAll("_", "").length >= JOINED_WORD_MIN).map((name) => name.replaceAll("_", ""));
    return (name) => {
      const text = words(name.trim());
      const together = text.replaceAll("_", "");
      return plain.some((secret) => text.includes(secret)) || joined.some((secret) => together.includes(secret));
    };
  };
  const [isIn, isListed] = [set([...names, ...listed]), set(listed)];
  const globs = exceptions.map((glob) => strip(glob.replace(/[^\p{L}\p{N}_*?]+/gu, "_")).split(/([*?])/));
  const shown = globs.map((parts) => new RegExp(`^(?:${parts.map((part) => ({ "*": ".*", "?": "." })[part] ?? escaped(snake(part))).join("")})$`, "s"));
  const matches = (name) => {
    if (!isIn(name)) return false;
    if (name.length > EXCEPTION_MAX_CHARACTERS) return true;
    const spelled = strip(snake(name));
    if (shown.some((glob) => glob.test(spelled))) return false;
    return isListed(name) || !isException(spelled, isIn);
  };
  // A table of a thousand rows has each name a thousand times.
  const known = new Map();
  const judge = (name, isNumber) => matches(name) && !(isNumber && COUNTED.test(snake(name).replace(/_+$/, "")) && !isListed(name));
  return (name, isNumber) => {
    const asked = `${isNumber ? 1 : 0}${name}`;
    if (!known.has(asked)) known.set(asked, judge(name, isNumber));
    return known.get(asked);
  };
}

function isException(name, isIn) {
  const rest = name.replace(OTHER_WORDS, "");
  if (!isIn(rest)) return true;
  const description = DESCRIPTION.exec(rest);
  if (description && isIn(rest.slice(0, description.index))) return true;
  const ending = ENDINGS.exec(rest);
  if (!ending || LINK.test(rest)) return false;
  const middle = ending.groups.middle ?? "";
  return !CREDENTIAL.test(`_${strip(middle)}`) && !isIn(rest.slice(0, ending.index) + middle);
}
