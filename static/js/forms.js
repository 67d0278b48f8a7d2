// Forms that start work: one submission a click, and a button that says it is on its way.

document.addEventListener("submit", (event) => {
  const form = event.target.closest("form[data-submit-once]");
  if (!form) return;
  if (form.dataset.sent) {
    event.preventDefault();
    return;
  }
  form.dataset.sent = "1";
  form.querySelectorAll("button[type=submit]").forEach((button) => button.setAttribute("aria-busy", "true"));
});

// Back in the browser shows the page as it was left: the form may be sent again.
window.addEventListener("pageshow", () => {
  document.querySelectorAll("form[data-sent]").forEach((form) => {
    delete form.dataset.sent;
    form.querySelectorAll("button[aria-busy]").forEach((button) => button.removeAttribute("aria-busy"));
  });
});
