// Runs before the first paint, hence not a module: follows the system unless the user chose light or dark.
(() => {
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  const apply = () => {
    const chosen = root.dataset.theme;
    root.dataset.bsTheme = chosen === "auto" ? (system.matches ? "dark" : "light") : chosen;
    document.dispatchEvent(new CustomEvent("tuneyard:theme"));
  };
  apply();
  system.addEventListener("change", apply);
  document.addEventListener("click", (event) => {
    if (!event.target.closest?.("[data-theme-toggle]")) return;
    root.dataset.theme = root.dataset.bsTheme === "dark" ? "light" : "dark";
    document.cookie = `tuneyard_theme=${root.dataset.theme};path=/;max-age=31536000;samesite=lax`;
    apply();
  });
})();
