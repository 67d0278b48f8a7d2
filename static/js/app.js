// What every page needs: the CSRF header for HTMX, toasts, copy buttons, menus that close, the phone's sidebar and tabs, "/" to search.

const token = () => document.querySelector('meta[name="csrf-token"]').content;

document.addEventListener("htmx:configRequest", (event) => {
  event.detail.headers["X-CSRFToken"] = token();
});

/** Show a note that goes away by itself, unless it tells of an error. */
export function toast(text, tone = "success") {
  const box = document.getElementById("toasts");
  const note = document.createElement("div");
  note.className = `toast-note ${tone}`;
  const words = document.createElement("span");
  words.textContent = text;
  const close = document.createElement("button");
  close.className = "icon-button";
  close.type = "button";
  close.dataset.closeToast = "";
  close.textContent = "×";
  close.setAttribute("aria-label", box.dataset.close);
  note.append(words, close);
  box.append(note);
  if (tone !== "error") setTimeout(() => note.remove(), 6000);
}

for (const note of document.querySelectorAll(".toast-note:not(.error)")) setTimeout(() => note.remove(), 8000);

// A fragment's answer may carry `HX-Trigger: {"toast": {"text": ..., "tone": ...}}`.
document.addEventListener("toast", (event) => toast(event.detail.text, event.detail.tone));

document.addEventListener("htmx:responseError", (event) => {
  let text = `${event.detail.xhr.status} ${event.detail.xhr.statusText}`;
  try {
    const { error } = JSON.parse(event.detail.xhr.responseText);
    text = [error.message, error.hint].filter(Boolean).join(" ");
  } catch {
    // Not our JSON: the status has to do.
  }
  toast(text, "error");
});

// What refreshes itself waits while a question is open: the dialog, or the button that opened it, may be a part of it.
document.addEventListener("htmx:beforeSwap", (event) => {
  const asking = document.querySelector("dialog:modal");
  if (asking && !asking.contains(event.detail.target)) event.detail.shouldSwap = false;
});

document.addEventListener("click", async (event) => {
  const target = event.target.closest("[data-close-toast], [data-copy], [data-nav-toggle], [data-open-dialog], [data-close-dialog]");
  for (const menu of document.querySelectorAll("details.popover-menu[open], details.switcher[open]")) {
    if (!menu.contains(event.target)) menu.open = false;
  }
  if (!target) return;
  if ("closeToast" in target.dataset) target.closest(".toast-note").remove();
  if ("navToggle" in target.dataset) {
    target.setAttribute("aria-expanded", document.body.classList.toggle("nav-open"));
  }
  if ("openDialog" in target.dataset) document.getElementById(target.dataset.openDialog).showModal();
  if ("closeDialog" in target.dataset) target.closest("dialog").close();
  if ("copy" in target.dataset) {
    const text = target.dataset.copy || target.parentElement.querySelector("pre").textContent;
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      // Plain http on another host has no clipboard: select the text instead.
      getSelection().selectAllChildren(target.parentElement.querySelector("pre") ?? target);
      return;
    }
    target.classList.add("good");
    setTimeout(() => target.classList.remove("good"), 1200);
  }
});

document.addEventListener("keydown", (event) => {
  if (event.key === "/" && !event.target.closest("input, textarea, select, [contenteditable]")) {
    const search = document.querySelector("[data-search]");
    if (search) {
      event.preventDefault();
      search.focus();
    }
  }
});

// On a phone the tabs scroll: the one that is open is brought into view, without moving the page.
for (const tabs of document.querySelectorAll(".tabs")) {
  const open = tabs.querySelector("[aria-current]");
  if (open) tabs.scrollLeft = open.offsetLeft + open.offsetWidth / 2 - tabs.offsetLeft - tabs.clientWidth / 2;
}

// What was refused may stand far down a long form: the first complaint is brought into view, its field ready to be mended.
const complaint = document.querySelector("main .errorlist, main .form-error[role=alert]");
if (complaint && !document.querySelector("main .problem")) {
  complaint.scrollIntoView({ block: "center" });
  complaint.closest(".field")?.querySelector("input, select, textarea")?.focus({ preventScroll: true });
}

// A form is sent once, however often its button is clicked; coming back to the page lets it be sent again.
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (!form.matches("form[method='post']") || event.defaultPrevented) return;
  if (form.dataset.sent) event.preventDefault();
  form.dataset.sent = "1";
});
addEventListener("pageshow", () => document.querySelectorAll("form[data-sent]").forEach((form) => delete form.dataset.sent));
