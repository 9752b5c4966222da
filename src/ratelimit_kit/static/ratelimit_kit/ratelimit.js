// @ts-check
/**
 * What visitors see of a rate limit: toasts, an overlay, and a fetch that waits its turn.
 *
 * One module without dependencies; ratelimit.css goes with it. Text is only ever set as text.
 * Loaded twice, both copies are the first one. The manual is docs/reference/browser.md.
 *
 * @typedef {"success" | "error" | "warning" | "info"} Kind
 * @typedef {{ label: string, primary?: boolean, onClick?: () => unknown }} Action
 * @typedef {{ title?: string, message?: string, actions?: Action[], autoClose?: number | boolean,
 *   onClose?: () => unknown, wait?: number, signal?: AbortSignal }} ErrorOptions
 * @typedef {{ ui?: "auto" | "toast" | "overlay" | "none", retries?: number, maxWait?: number,
 *   network?: boolean }} FetchOptions
 * @typedef {RequestInit & { rateLimit?: FetchOptions | false }} Init
 * @typedef {{ name: string, remaining: number, seconds: number }} Limit
 * @typedef {{ response: Response, url: string, method: string, retryAfter: number,
 *   policies: string[], limits: Limit[], detail: string }} Limited
 */

const english = {
  limited: "Too many requests",
  limitedMessage: "This was done more often than the site allows.",
  unavailable: "Temporarily unavailable",
  unavailableMessage: "The site cannot answer this right now.",
  offline: "No connection",
  offlineMessage: "The server could not be reached. Check your connection and try again.",
  failed: "That did not work",
  failedMessage: "Please try again.",
  wait: "You can try again in {time}.",
  again: "Trying again in {time}.",
  ready: "You can try again now.",
  retry: "Retry",
  cancel: "Cancel",
  close: "Close",
  loading: "Loading…",
  retrying: "Trying again…",
};
/** @typedef {typeof english} Strings */

/** @type {Strings} */
const indonesian = {
  limited: "Terlalu banyak permintaan",
  limitedMessage: "Tindakan ini dilakukan lebih sering daripada yang diizinkan situs ini.",
  unavailable: "Sementara tidak tersedia",
  unavailableMessage: "Situs ini sedang tidak dapat menjawab permintaan Anda.",
  offline: "Tidak ada koneksi",
  offlineMessage: "Server tidak dapat dihubungi. Periksa koneksi Anda, lalu coba lagi.",
  failed: "Tindakan itu gagal",
  failedMessage: "Silakan coba lagi.",
  wait: "Anda dapat mencoba lagi dalam {time}.",
  again: "Mencoba lagi dalam {time}.",
  ready: "Anda dapat mencoba lagi sekarang.",
  retry: "Coba lagi",
  cancel: "Batal",
  close: "Tutup",
  loading: "Memuat…",
  retrying: "Mencoba lagi…",
};

/** @type {Record<string, Partial<Strings>>} By language tag or its first part; pages may add theirs. */
const allStrings = { en: english, id: indonesian };
const settings = { lang: "", strings: /** @type {Partial<Strings>} */ ({}) };
const page = globalThis.document;

/** `lang` counts instead of the page's, `strings` replace ours. @param {Partial<typeof settings>} options */
function setUp({ lang = settings.lang, strings = {} }) {
  settings.lang = lang;
  Object.assign(settings.strings, strings);
}

function language() {
  const lang = (settings.lang || page?.documentElement.lang || "").toLowerCase();
  return [lang, lang.split("-")[0]].find((tag) => Object.hasOwn(allStrings, tag)) ?? "en";
}

/** @param {keyof Strings} name @param {number} [seconds] */
function say(name, seconds = 0) {
  const text = settings.strings[name] ?? allStrings[language()][name] ?? english[name];
  return text.replace("{time}", () => spell(seconds));
}

/** "12 seconds", "3 minutes", "2 hours", rounded up, in the page's language. @param {number} seconds */
function spell(seconds) {
  const [unit, size] = seconds <= 90 ? ["second", 1] : seconds <= 5400 ? ["minute", 60] : ["hour", 3600];
  const format = new Intl.NumberFormat(language(), { style: "unit", unit: `${unit}`, unitDisplay: "long" });
  return format.format(Math.ceil(seconds / Number(size)));
}

/** @param {string} tag @param {string} name @param {Record<string, string>} [attributes] @param {(Node | string)[]} children */
function make(tag, name, attributes = {}, ...children) {
  const element = page.createElement(tag);
  element.className = name;
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

// Toasts. Live regions stand in the page before any text does: else it would not be announced.

const DURATIONS = { success: 1600, error: 3000, warning: 2000, info: 1600 };
const MOST_TOASTS = 5;

/** @type {HTMLElement} */
let stack;
/** A toast's life is an animation, for these can be paused. @type {Map<Element, Animation>} */
const lives = new Map();
/** @type {(() => void)[] | undefined} What waits for the page to have a body. */
let queue = page && [];
/** @type {Promise<void>} */
let isReady = Promise.resolve();

/** @param {() => void} work */
const whenReady = (work) => void (queue ? queue.push(work) : work());

function start() {
  if (!page) return;
  isReady = new Promise((resolve) => {
    whenReady(resolve);
    const begin = () => {
      if (page.body) mount();
      return page.body;
    };
    if (begin()) return;
    const observer = new MutationObserver(() => begin() && observer.disconnect());
    observer.observe(page, { childList: true, subtree: true });
  });
}

function mount() {
  const regions = ["alert", "status"].map((role) => make("div", "", { role, "aria-atomic": "false" }));
  stack = make("div", "rlk-toasts", {}, ...regions);
  for (const type of ["pointerenter", "pointerleave", "focusin", "focusout"]) stack.addEventListener(type, holdOrRelease);
  page.addEventListener("visibilitychange", holdOrRelease);
  page.addEventListener("close", place, true);
  place();
  setTimeout(() => {
    const works = queue ?? [];
    queue = undefined;
    for (const work of works) work();
  }, 50); // assistive technology takes a moment to see the regions
}

/** Put the stack into the topmost modal dialog, if any: all else is inert. */
function place() {
  const home = [...page.querySelectorAll("dialog:modal")].pop() ?? page.body;
  stack.lang = language();
  if (stack.parentNode !== home) home.append(stack);
}

/** Toasts stay while one has the pointer or the focus, or nobody can see them; afterwards their time starts over. */
async function holdOrRelease() {
  await null; // by then the focus has moved
  const hold = page.hidden || stack.matches(":hover, :focus-within");
  for (const life of lives.values()) {
    if (hold) life.currentTime = 0;
    if (hold) life.pause();
    else life.play();
  }
}

/** @param {Element | void} item */
function drop(item) {
  if (!item) return;
  lives.get(item)?.cancel();
  lives.delete(item);
  item.remove();
  holdOrRelease();
}

/** @param {unknown} text @param {Kind} kind @param {{ duration?: number }} [options] */
function addToast(text, kind, { duration = DURATIONS[kind] } = {}) {
  if (!page) return void console[kind === "error" ? "error" : kind === "warning" ? "warn" : "info"](String(text));
  const item = make("div", `rlk-toast rlk-${kind}`, { tabindex: "0" }, String(text));
  /** @type {EventTarget | null} */
  let before = null;
  item.onclick = () => drop(item);
  item.onfocus = (event) => void (before = event.relatedTarget);
  item.onkeydown = (event) => {
    if (event.key !== "Escape") return;
    event.preventDefault();
    drop(item);
    if (before instanceof HTMLElement) before.focus();
  };
  whenReady(() => {
    place();
    stack.children[kind === "error" ? 0 : 1].append(item);
    if (lives.size >= MOST_TOASTS) drop([...lives.keys()][0]);
    const life = item.animate(null, duration > 0 ? duration : Infinity);
    lives.set(item, life);
    life.onfinish = () => drop(item);
    holdOrRelease();
  });
  return item;
}

/**
 * Returns a function that takes the toast away.
 * @param {unknown} text @param {Kind} [kind] @param {{ duration?: number }} [options] milliseconds; 0 stays until dismissed
 */
function showToast(text, kind = "info", options) {
  const item = addToast(text, Object.hasOwn(DURATIONS, kind) ? kind : "info", options);
  return () => drop(item);
}

/** @param {Kind} kind */
const shower = (kind) => (/** @type {unknown} */ text) => showToast(text, kind);
const toasts = {
  show: showToast,
  success: shower("success"),
  error: shower("error"),
  warning: shower("warning"),
  info: shower("info"),
  ready: () => isReady,
};

// The overlay: one modal dialog. It shows the first error, else the last thing under way, else nothing.

/** @typedef {{ options: ErrorOptions, until: number, finish: (action?: Action) => void }} Shown */

/** @type {HTMLDialogElement} */
let dialog;
/** @type {{ text: string }[]} */
const busy = [];
/** @type {Shown[]} */
const errors = [];
/** @type {unknown} */
let shown;
/** @type {ReturnType<typeof setTimeout>[]} */
let timers = [];
/** Errors that the visitor has seen already. @type {WeakSet<object>} */
const told = new WeakSet();

function build() {
  const parts = [make("div", "rlk-panel", { tabindex: "-1" }), make("p", "rlk-unseen", { role: "status" })];
  dialog = /** @type {HTMLDialogElement} */ (make("dialog", "rlk-overlay", {}, ...parts));
  dialog.oncancel = (event) => {
    event.preventDefault();
    errors[0]?.finish();
  };
  dialog.onclose = () => void (shown && open()); // some browsers close it on the second Escape, whatever we say
  dialog.onpointerdown = () => clearTimeout(timers[0]);
  dialog.onkeydown = (event) => {
    clearTimeout(timers[0]);
    if (event.key === "Tab") cycle(event);
  };
}

/** Keep the focus inside: browsers would let it go to their own bars. @param {KeyboardEvent} event */
function cycle(event) {
  event.preventDefault();
  const stops = /** @type {NodeListOf<HTMLElement>} */ (dialog.querySelectorAll("button, [tabindex='0']"));
  const at = [...stops].findIndex((stop) => stop === page.activeElement);
  stops[event.shiftKey ? (at < 1 ? stops.length : at) - 1 : (at + 1) % stops.length]?.focus();
}

function open() {
  if (dialog.matches(":modal")) return;
  dialog.open = false;
  page.body.append(dialog);
  dialog.showModal();
  place();
}

function render() {
  const next = errors[0] ?? busy.at(-1);
  if (next === shown) return;
  shown = next;
  timers.forEach(clearTimeout);
  timers = [];
  if (!dialog) build();
  const role = errors[0] ? "alertdialog" : "dialog";
  // An error is opened again so that it is read out in full; what is under way is announced by the status.
  if (dialog.open && (errors[0] || dialog.getAttribute("role") !== role)) dialog.close();
  dialog.setAttribute("role", role);
  dialog.lang = language();
  dialog.setAttribute("aria-labelledby", "rlk-title");
  dialog.setAttribute("closedby", errors[0] ? "closerequest" : "none");
  if (errors[0]) showFirst(errors[0]);
  else if (next) showBusy(busy[busy.length - 1].text);
  else dialog.close();
}

/** @param {string} text */
function showBusy(text) {
  const [panel, status] = dialog.children;
  panel.replaceChildren(make("div", "rlk-spinner", { "aria-hidden": "true" }), make("p", "", { id: "rlk-title" }, text));
  status.textContent = dialog.open ? text : "";
  dialog.removeAttribute("aria-describedby");
  open();
  /** @type {HTMLElement} */ (panel).focus();
}

/** @param {Shown} error */
function showFirst({ options: { title, message, actions, autoClose, wait }, until, finish }) {
  const [panel, status] = dialog.children;
  const line = make("p", "rlk-wait", { id: "rlk-wait", role: "timer" });
  const buttons = (actions?.length ? actions : [{ label: say("close"), primary: true }]).map((action) => {
    const button = make("button", action.primary ? "rlk-primary" : "", { type: "button" }, String(action.label));
    button.onclick = () => button.getAttribute("aria-disabled") || finish(action);
    return button;
  });
  const close = make("button", "rlk-close", { type: "button", "aria-label": say("close") }, "×");
  close.onclick = () => finish();
  const primary = buttons.find((button) => button.className) ?? buttons[0];
  status.textContent = "";
  if (wait) countDown(primary, line, status, until);
  panel.replaceChildren(
    make("div", "rlk-sign", { "aria-hidden": "true" }, "!"),
    make("h2", "", { id: "rlk-title" }, title ?? say("failed")),
    make("p", "", { id: "rlk-message" }, message ?? (title ? "" : say("failedMessage"))),
    ...(wait ? [line] : []),
    make("div", "rlk-actions", {}, ...buttons),
    close,
  );
  dialog.setAttribute("aria-describedby", "rlk-message rlk-wait");
  open();
  primary.focus();
  if (autoClose) timers[0] = setTimeout(finish, autoClose === true ? 5000 : autoClose);
}

/**
 * Not a live region while it ticks: the line is read with the dialog, and its end is announced.
 * @param {HTMLElement} button @param {HTMLElement} line @param {Element} status @param {number} until
 */
function countDown(button, line, status, until) {
  const number = make("span", "rlk-count", { "aria-hidden": "true" });
  button.setAttribute("aria-disabled", "true");
  button.append(number);
  const tick = () => {
    const left = until - Date.now();
    const seconds = Math.ceil(left / 1000);
    number.textContent = ` (${seconds < 60 ? seconds : `${Math.floor(seconds / 60)}:${`${seconds % 60}`.padStart(2, "0")}`})`;
    line.textContent = say("wait", seconds);
    if (left > 0) return void (timers[1] = setTimeout(tick, left % 1000 || 1000));
    button.removeAttribute("aria-disabled");
    number.remove();
    status.textContent = line.textContent = say("ready");
  };
  tick();
}

/**
 * Errors that come together are shown one after the other.
 * @param {ErrorOptions} options `autoClose` in milliseconds, unless the visitor touches the overlay;
 *   `wait` in seconds, until the primary button can be pressed
 * @returns {Promise<Action | undefined>} what was pressed, once it is closed
 */
async function showError(options) {
  if (!page) return void console.error(options.title ?? say("failed"), options.message ?? "");
  return new Promise((resolve) => {
    if (options.signal?.aborted) return resolve(undefined);
    const error = {
      options,
      until: Date.now() + (options.wait ?? 0) * 1000,
      /** @param {Action} [action] */
      finish(action) {
        const at = errors.indexOf(error);
        if (at < 0) return;
        errors.splice(at, 1);
        whenReady(render);
        resolve(action);
        try {
          action?.onClick?.();
        } finally {
          options.onClose?.();
        }
      },
    };
    options.signal?.addEventListener("abort", () => error.finish());
    errors.push(error);
    whenReady(render);
  });
}

/** Returns a function that ends just this. @param {string} [text] */
function showLoading(text = say("loading")) {
  const entry = { text: String(text) };
  busy.push(entry);
  if (page) whenReady(render);
  return () => {
    const at = busy.indexOf(entry);
    if (at >= 0) busy.splice(at, 1);
    if (page) whenReady(render);
  };
}

/**
 * Shows `text` until the work has ended. A failure is shown, and passed on; a function can be tried again.
 * @template T
 * @param {Promise<T> | (() => T | Promise<T>)} work @param {string} [text]
 * @returns {Promise<T>}
 */
async function wrap(work, text) {
  for (;;) {
    const done = showLoading(text);
    try {
      return await (typeof work === "function" ? work() : work);
    } catch (error) {
      const failure = Object(error);
      if (told.has(failure) || failure.name === "AbortError") throw error;
      told.add(failure);
      const again = { label: say("retry"), primary: true };
      const actions = typeof work === "function" ? [again, { label: say("cancel") }] : [];
      const answer = showError({ actions });
      if (typeof work !== "function" || (await answer) !== again) throw error;
    } finally {
      done();
    }
  }
}

const overlay = {
  show: showLoading,
  /** Ends what was shown last. */
  hide() {
    busy.pop();
    if (page) whenReady(render);
  },
  wrap,
  showError,
};

// Fetch. It never sends anything again before the server's time, nor an unsafe request by itself.

const SAFE = ["GET", "HEAD", "OPTIONS"];
const MOST_RETRIES = 5;
const LONGEST = 86_400; // seconds that a server's word is believed
const STOCK = /^Try again in \d+ seconds?\.$/; // the server's own sentence, which the countdown says better
const HTTP_DATE = /^[A-Z][a-z]{2,8}, \d\d[ -][A-Z][a-z]{2}[ -]\d{2,4} \d\d:\d\d:\d\d GMT$/;
const ITEM = /\s*"((?:[^"\\]|\\["\\])*)"((?:;\s*[a-z*][\w.*-]*(?:=(?:"(?:[^"\\]|\\["\\])*"|[^",;\s]+))?)*)\s*(?:,|$)/y;

/** Seconds, or undefined; digits are never read as a date. @param {Headers} headers */
function retryAfter(headers) {
  const field = headers.get("Retry-After")?.trim() ?? "";
  if (/^\d+$/.test(field)) return Number(field);
  const now = Date.parse(headers.get("Date") ?? "") || Date.now();
  const seconds = HTTP_DATE.test(field) ? Math.ceil((Date.parse(field) - now) / 1000) : NaN;
  return Number.isNaN(seconds) ? undefined : Math.max(0, seconds);
}

/** The field RateLimit of draft 11, `"name";r=0;t=12, ...`; a malformed one says nothing. @param {string} field */
function parseLimits(field) {
  /** @type {Limit[]} */
  const limits = [];
  for (ITEM.lastIndex = 0; ITEM.lastIndex < field.length; ) {
    const [, name, parameters] = ITEM.exec(field) ?? [];
    if (name === undefined) return [];
    const [r, t] = [/;\s*r=(\d+)/, /;\s*t=(\d+)/].map((form) => Number(form.exec(parameters)?.[1]));
    limits.push({ name: name.replace(/\\(.)/g, "$1"), remaining: r, seconds: t });
  }
  return limits;
}

/** @param {Response} response @param {Request} request @param {number} attempt @returns {Promise<Limited>} */
async function read(response, { url, method }, attempt) {
  const { headers } = response;
  const isProblem = /^application\/problem\+json\b/i.test(headers.get("Content-Type") ?? "");
  const problem = Object(isProblem ? await response.clone().json().catch(() => 0) : 0);
  const limits = parseLimits(headers.get("RateLimit") ?? "");
  const spent = limits.filter(({ remaining }) => remaining === 0);
  const named = problem["violated-policies"];
  const policies = Array.isArray(named) ? named.map(String) : spent.map(({ name }) => name);
  const times = spent.map(({ seconds }) => seconds).filter(Number.isFinite);
  const seconds = retryAfter(headers) ?? (times.length ? Math.max(...times) : 2 ** (attempt - 1));
  const detail = typeof problem.detail === "string" ? problem.detail : "";
  return { response, url, method, retryAfter: Math.min(seconds, LONGEST), policies, limits, detail };
}

/** False when a listener prevented the default. @param {string} type @param {object} detail */
function emit(type, detail) {
  const event = page && new CustomEvent(`ratelimit:${type}`, { detail, bubbles: true, cancelable: true });
  return !event || page.dispatchEvent(event);
}

/** When each limit has room again, as far as any tab of this site knows. @type {Map<string, number>} */
const until = new Map();
/** @type {BroadcastChannel | undefined} */
let channel;

/** @param {string} key @param {number} time */
function learn(key, time) {
  until.set(key, Math.max(time, until.get(key) ?? 0));
}

/** @param {string} key "" for the network, which is each tab's own business @param {number} time */
function tell(key, time) {
  learn(key, time);
  if (!key || !globalThis.BroadcastChannel) return;
  if (!channel) {
    channel = new BroadcastChannel("ratelimit_kit");
    channel.onmessage = ({ data }) => learn(`${data?.key}`, Math.min(Number(data?.time) || 0, Date.now() + LONGEST * 1000));
    /** @type {any} */ (channel).unref?.(); // Node would run on for it
  }
  channel.postMessage({ key, time });
}

/** @param {AbortSignal} signal @param {() => void} [clean] @returns {Promise<never>} */
const aborted = (signal, clean) =>
  new Promise((_, reject) => {
    signal.addEventListener("abort", () => (clean?.(), reject(signal.reason)), { once: true });
  });

/**
 * Wait until no tab knows better, then take the turn: one retry at a time over all tabs.
 * @param {string} key @param {number} maxWait seconds @param {AbortSignal} signal
 */
async function turn(key, maxWait, signal) {
  const end = Date.now() + maxWait * 1000;
  for (let due; (due = until.get(key) ?? 0) > Date.now(); ) {
    if (due > end) return false;
    const left = due - Date.now();
    const jitter = Math.random() * Math.min(5000, 500 + left / 10);
    await Promise.race([aborted(signal), new Promise((wake) => setTimeout(wake, left + jitter))]);
  }
  tell(key, Date.now() + 250);
  return true;
}

/** @type {HTMLElement | void} */
let notice;

/** One toast at a time, however many requests were refused. @param {Kind} kind @param {string} text */
function notify(kind, text) {
  if (notice?.isConnected && notice.textContent === text) return;
  if (notice) drop(notice);
  notice = addToast(text, kind, { duration: 4000 });
}

/** @type {Map<string, { answer: Promise<boolean>, callers: number, control: AbortController }>} */
const questions = new Map();

/**
 * Ask the visitor whether to try again: once, for all requests that the same limit refused.
 * @param {string} key @param {ErrorOptions} options @param {AbortSignal} signal
 */
function ask(key, options, signal) {
  let question = questions.get(key);
  if (!question) {
    const control = new AbortController();
    const actions = [{ label: say("retry"), primary: true }, { label: say("cancel") }];
    const answer = showError({ ...options, actions, signal: control.signal }).then((action) => {
      questions.delete(key);
      return action === actions[0];
    });
    questions.set(key, (question = { answer, callers: 0, control }));
  }
  const { answer, control } = question;
  question.callers += 1;
  return Promise.race([answer, aborted(signal, () => --question.callers || control.abort())]);
}

/**
 * `fetch`, but a 429 is shown to the visitor, who can try again at the right second. Settles with the
 * last answer: a refusal when the visitor gave up, a network error as fetch has it.
 * @param {RequestInfo | URL} input @param {Init} [init] `rateLimit`: options
 * @returns {Promise<Response>}
 */
async function ourFetch(input, init) {
  const { ui = "auto", retries = 0, maxWait = 60, network = true } = init?.rateLimit || {};
  const request = new Request(input, init);
  const { method, signal, url } = request;
  const safe = SAFE.includes(method);
  let done = () => {};
  for (let attempt = 1; ; attempt += 1) {
    let response, failure;
    try {
      response = await globalThis.fetch(request.clone(), /** @type {Init} */ ({ rateLimit: false }));
      if (response.status !== 429 && !(response.status === 503 && response.headers.has("Retry-After"))) return response;
    } catch (error) {
      if (signal.aborted) throw error;
      failure = error;
    } finally {
      done();
    }
    const news = response && (await read(response, request, attempt));
    signal.throwIfAborted();
    const wait = news?.retryAfter ?? 2 ** (attempt - 1);
    const key = news ? `${news.policies}` || `${method} ${new URL(url).pathname}` : "";
    tell(key, Date.now() + wait * 1000);
    const visible = (news ? emit("limited", news) : network) && ui !== "none";
    const name = !news ? "offline" : news.response.status === 503 ? "unavailable" : "limited";
    const automatic = safe && attempt <= Math.min(retries, MOST_RETRIES) && wait <= maxWait;
    if (visible && automatic) notify("warning", `${say(name)}. ${say("again", wait)}`);
    let again = automatic && (await turn(key, maxWait, signal));
    if (visible && !again) {
      if (ui === "toast" || (ui === "auto" && safe && news)) {
        notify(news ? "warning" : "error", news ? `${say(name)}. ${say("wait", wait)}` : say("offlineMessage"));
      } else {
        const message = news?.detail && !STOCK.test(news.detail) ? news.detail : say(`${name}Message`);
        again = await ask(key, { title: say(name), message, wait: news && wait }, signal);
      }
      if (failure) told.add(Object(failure));
    }
    if (!again || !emit("retry", { url, method, attempt, automatic })) {
      if (response) return response;
      throw failure;
    }
    if (!automatic) done = showLoading(say("retrying"));
  }
}

/** @type {(() => void) | undefined} */
let uninstall;

/**
 * Let the page's own `fetch` tell of limits, for requests to its own origin. Returns a function that undoes it.
 * @param {FetchOptions} [options] a toast is the default here, and network errors are the page's business
 */
function install(options) {
  if (uninstall) return uninstall;
  const native = globalThis.fetch;
  let on = true;
  /** @param {RequestInfo | URL} input @param {Init} [init] */
  const patched = async (input, init) => {
    const url = new URL(input instanceof Request ? input.url : input, page?.baseURI ?? globalThis.location?.href);
    if (!on || init?.rateLimit === false || url.origin !== globalThis.location?.origin) return native(input, init);
    return ourFetch(input, { ...init, rateLimit: { ui: "toast", network: false, ...options, ...init?.rateLimit } });
  };
  globalThis.fetch = patched;
  return (uninstall = () => {
    on = false;
    uninstall = undefined;
    if (globalThis.fetch === patched) globalThis.fetch = native;
  });
}

const ours = {
  toast: toasts,
  loading: overlay,
  throttledFetch: ourFetch,
  installFetch: install,
  configure: setUp,
  strings: allStrings,
};
const global = /** @type {{ [key: symbol]: typeof ours | undefined }} */ (/** @type {unknown} */ (globalThis));
const first = Symbol.for("ratelimit_kit");
if (!global[first]) start();
export const { toast, loading, throttledFetch, installFetch, configure, strings } = (global[first] ??= ours);
