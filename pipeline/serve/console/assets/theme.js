"use strict";
// Before the page is painted: what the person chose, else what the system says.
const chosen = localStorage.getItem("theme");
if (chosen === "dark" || chosen === "light") document.documentElement.dataset.theme = chosen;
