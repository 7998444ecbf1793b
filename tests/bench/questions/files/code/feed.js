// Builds the RSS feed of a site from its pages, the newest twenty first.
export function feed(pages, site) {
  const items = pages.sort((a, b) => b.date - a.date).slice(0, 20);
  return items.map((p) => `<item><title>${p.title}</title><link>${site}${p.url}</link></item>`).join("\n");
}
