// Before anything is drawn, so that a chosen theme does not flash. No module: those are deferred.
try {
  const chosen = localStorage.getItem("pfedfrz-theme");
  if (chosen === "dark" || chosen === "light") document.documentElement.dataset.theme = chosen;
} catch { /* storage is forbidden here: the system's theme it is */ }
