// File fields inside `.drop`: drag and drop, the chosen names, and a progress bar for `form[data-upload]`.
// Without script the same form is an ordinary one.

import { toast } from "./app.js";

function showNames(drop) {
  const names = drop.querySelector("[data-file-names]");
  const files = [...drop.querySelector("input[type=file]").files];
  if (names) names.textContent = files.map((file) => file.name).join(", ");
}

function takeDrops(drop) {
  const input = drop.querySelector("input[type=file]");
  drop.classList.add("is-live");
  input.addEventListener("change", () => showNames(drop));
  for (const kind of ["dragover", "dragleave", "drop"]) {
    drop.addEventListener(kind, (event) => {
      event.preventDefault();
      drop.classList.toggle("is-over", kind === "dragover");
      if (kind === "drop" && event.dataTransfer.files.length) {
        input.files = event.dataTransfer.files;
        input.dispatchEvent(new Event("change", { bubbles: true }));
      }
    });
  }
}

/** Put the answer's errors into the page. The chosen files go along: an answer cannot bring them back. */
function showRefusal(form, answer) {
  const fresh = answer.querySelector("form[data-upload]");
  if (!fresh) return false;
  document.querySelector("main").replaceWith(document.adoptNode(answer.querySelector("main")));
  for (const old of form.querySelectorAll("input[type=file]")) fresh.elements[old.name].files = old.files;
  enhance(fresh);
  const problem = document.querySelector("main .problem, main .form-error, main .errorlist");
  (problem ?? fresh).scrollIntoView({ block: "center" });
  return true;
}

function send(form) {
  const bar = form.querySelector("progress");
  const button = form.querySelector("[type=submit]");
  const request = new XMLHttpRequest();
  const again = (text) => {
    toast(text, "error");
    bar.hidden = true;
    button.disabled = false;
  };
  request.open("POST", form.action);
  request.setRequestHeader("X-CSRFToken", document.querySelector('meta[name="csrf-token"]').content);
  bar.value = 0;
  bar.hidden = false;
  button.disabled = true;
  request.upload.addEventListener("progress", (sent) => {
    if (sent.lengthComputable) bar.value = sent.loaded / sent.total;
  });
  request.addEventListener("load", () => {
    if (request.status < 400) {
      location.assign(request.responseURL);
      return;
    }
    const answer = new DOMParser().parseFromString(request.responseText, "text/html");
    if (!showRefusal(form, answer)) again(answer.querySelector("main")?.textContent.trim() || form.dataset.upload);
  });
  request.addEventListener("error", () => again(form.dataset.upload));
  request.send(new FormData(form));
}

function enhance(form) {
  form.querySelectorAll(".drop").forEach(takeDrops);
  form.querySelectorAll(".drop").forEach(showNames);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    send(form);
  });
}

document.querySelectorAll("form[data-upload]").forEach(enhance);
