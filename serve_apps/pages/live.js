// Availability as it changes: one connection, and only while somebody looks at the page. Browsers
// open no more than six to one shop, so a hidden tab must not keep one.

const REFUSED_RETRY_MS = 15_000; // a lost connection the browser opens again by itself, a refused one not
const REFUSED_SPREAD_MS = 15_000;
const FEW_LEFT = 10;

/** How so many units are told: `level` is `out`, `few` or `in`. */
export function stockWords(units) {
  if (units === 0) return { level: "out", text: "Sold out" };
  if (units <= FEW_LEFT) return { level: "few", text: `Only ${units} left` };
  return { level: "in", text: `In stock: ${units.toLocaleString("en-US")} left` };
}

/**
 * Tell `onNumbers` of `[{product_id, variant_id, available}]` of these products, first all and then
 * what changes, until `signal`. A connection that is cut the browser resumes from the last event.
 */
export function watch(productIds, onNumbers, { signal }) {
  let source = null;
  let timer = null;

  const close = () => {
    clearTimeout(timer);
    source?.close();
    source = null;
  };
  const open = () => {
    close();
    if (signal.aborted || document.hidden) return;
    source = new EventSource(`/api/v1/live?${new URLSearchParams(productIds.map((id) => ["product_id", id]))}`);
    source.addEventListener("snapshot", ({ data }) => onNumbers(JSON.parse(data).availability));
    source.addEventListener("availability", ({ data }) => onNumbers([JSON.parse(data)]));
    source.addEventListener("error", () => {
      if (source?.readyState !== EventSource.CLOSED) return;
      timer = setTimeout(open, REFUSED_RETRY_MS + Math.random() * REFUSED_SPREAD_MS);
    });
  };

  document.addEventListener("visibilitychange", open, { signal });
  signal.addEventListener("abort", close);
  open();
}
