// Availability as it changes: one connection, and only while somebody looks at the page. Browsers
// open no more than six to one shop, so a hidden tab must not keep one.

const REFUSED_RETRY_MS = 15_000; // a lost connection the browser opens again by itself, a refused one not
const REFUSED_SPREAD_MS = 15_000;

/** Tell `onNumbers` of `[{variant_id, available}]`, first all and then what changes, until `signal`. */
export function watch(productId, onNumbers, { signal }) {
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
    source = new EventSource(`/api/v1/live?${new URLSearchParams({ product_id: productId })}`);
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
