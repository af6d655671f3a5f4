// The operators' side of the HTTP API: whose token it is, and one way to ask.

const TIMEOUT_MS = 10_000;
const KEPT = "doorbuster.operator";

// Storage may be forbidden; the token then lives as long as the page.
let token = null;
try {
  token = sessionStorage.getItem(KEPT);
} catch { /* asked for again after a reload */ }

export const operator = {
  get isKnown() { return Boolean(token); },
  /** The name in the token: `operator_<name>.<issued>-<expiry>.<signature>`. */
  get name() { return token?.replace(/^operator_/, "").split(".").slice(0, -2).join(".") ?? ""; },
  set(value) {
    token = value || null;
    try {
      if (token) sessionStorage.setItem(KEPT, token);
      else sessionStorage.removeItem(KEPT);
    } catch { /* as above */ }
  },
};

/** A refusal, or no answer at all (`offline`). */
export class Refused extends Error {
  constructor(kind, detail) {
    super(detail);
    this.kind = kind;
  }
  get isAboutToken() { return this.kind === "unauthorized" || this.kind === "forbidden"; }
}

export async function ask(method, path, { body, signal } = {}) {
  const limit = AbortSignal.timeout(TIMEOUT_MS);
  let response;
  let answer;
  try {
    response = await fetch(`/api/v1/fraud/reviews${path}`, {
      method,
      headers: {
        Accept: "application/json", Authorization: `Bearer ${token}`,
        ...(body ? { "Content-Type": "application/json" } : {}),
      },
      body: body ? JSON.stringify(body) : undefined,
      cache: "no-store",
      signal: signal ? AbortSignal.any([signal, limit]) : limit,
    });
    answer = await response.json();
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Refused("offline", "The shop did not answer. Try again; the first decision counts.");
  }
  if (response.ok) return answer;
  throw new Refused(String(answer.type ?? "").split("/").pop(), answer.detail ?? "The shop refused.");
}
