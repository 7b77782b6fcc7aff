"""OpenAI's Agents API (`client.beta.agents` of its library), and the files that it names."""
