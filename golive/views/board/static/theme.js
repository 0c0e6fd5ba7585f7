// Before the first paint: what this browser was told last. Without a word the system decides.
try {
  const told = localStorage.getItem("theme");
  if (told === "dark" || told === "light") document.documentElement.dataset.theme = told;
} catch {
  // A browser that keeps nothing follows the system.
}
