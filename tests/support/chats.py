"""Chat templates that behave as those of real families do, in few words: what they read, refuse, write and ask.

Qwen3 closes an empty block of thinking where `enable_thinking` is false; SmolLM3 writes the date and a mode, which the
system message may set as well; Llama 3.2 writes the date unless `date_string` says it; Granite writes it where there
is no system message; Mistral Small too, and wants turns to alternate; Gemma refuses a system message; Phi-3 knows all
three roles; R1 opens the thinking itself.
"""

from __future__ import annotations

_CHATML = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"

QWEN3 = (
    _CHATML + "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}"
    "{%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\n\n</think>\n\n' }}{%- endif %}"
    "{%- endif %}"
)
SMOLLM3 = """\
{%- if enable_thinking is not defined %}{% set enable_thinking = true %}{%- endif %}
{%- set mode = "/think" if enable_thinking else "/no_think" %}
{%- set own = namespace(text="You are helpful.") %}
{%- if messages[0].role == "system" %}
  {%- if "/no_think" in messages[0].content %}{% set mode = "/no_think" %}
  {%- elif "/think" in messages[0].content %}{% set mode = "/think" %}{%- endif %}
  {%- set own.text = messages[0].content.replace("/no_think", "").replace("/think", "").rstrip() %}
{%- endif %}
{{- "<|im_start|>system\\nToday Date: " + strftime_now("%d %B %Y") + "\\nReasoning Mode: " + mode + "\\n\\n" }}
{{- own.text + "<|im_end|>\\n" }}
{%- for m in messages if m.role != "system" %}
  {{- "<|im_start|>" + m.role + "\\n" }}
  {%- if m.role == "assistant" %}{% generation %}{{ m.content + "<|im_end|>\\n" }}{% endgeneration %}
  {%- else %}{{ m.content + "<|im_end|>\\n" }}{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
  {{- "<|im_start|>assistant\\n" }}{% if mode == "/no_think" %}{{ "<think>\\n\\n</think>\\n" }}{% endif %}
{%- endif %}"""
LLAMA32 = """\
{{- bos_token }}
{%- if not date_string is defined %}
  {%- if strftime_now is defined %}{%- set date_string = strftime_now("%d %b %Y") %}
  {%- else %}{%- set date_string = "26 Jul 2024" %}{%- endif %}
{%- endif %}
{%- if messages[0]["role"] == "system" %}
  {%- set system = messages[0]["content"]|trim %}{%- set messages = messages[1:] %}
{%- else %}{%- set system = "" %}{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\nToday Date: " + date_string + "\\n\\n" + system + "<|eot_id|>" }}
{%- for m in messages %}
  {{- "<|start_header_id|>" + m["role"] + "<|end_header_id|>\\n\\n" + m["content"] | trim + "<|eot_id|>" }}
{%- endfor %}
{%- if add_generation_prompt %}{{- "<|start_header_id|>assistant<|end_header_id|>\\n\\n" }}{%- endif %}"""
GRANITE = """\
{%- if messages[0]["role"] == "system" %}
  {%- set system = messages[0]["content"] %}{%- set rest = messages[1:] %}
{%- else %}
  {%- set system = "Today's Date: " + strftime_now("%B %d, %Y") + ".\\nYou are Granite." %}{%- set rest = messages %}
  {%- if thinking %}{%- set system = system + " Write down your thoughts first." %}{%- endif %}
{%- endif %}
{{- "<|start_of_role|>system<|end_of_role|>" + system + "<|end_of_text|>\\n" }}
{%- for m in rest %}
  {{- "<|start_of_role|>" + m["role"] + "<|end_of_role|>" + m["content"] + "<|end_of_text|>\\n" }}
{%- endfor %}
{%- if add_generation_prompt %}{{- "<|start_of_role|>assistant<|end_of_role|>" }}{%- endif %}"""
MISTRAL_SMALL = """\
{%- set today = strftime_now("%Y-%m-%d") %}
{%- if messages[0]["role"] == "system" %}
  {%- set system = messages[0]["content"] %}{%- set turns = messages[1:] %}
{%- else %}{%- set system = "The current date is " + today + "." %}{%- set turns = messages %}{%- endif %}
{{- bos_token + "[SYSTEM_PROMPT]" + system + "[/SYSTEM_PROMPT]" }}
{%- for m in turns %}
  {%- if (m["role"] == "user") != (loop.index0 % 2 == 0) %}
    {{- raise_exception("After the optional system message, roles must alternate user/assistant") }}
  {%- endif %}
  {%- if m["role"] == "user" %}{{- "[INST]" + m["content"] + "[/INST]" }}
  {%- else %}{{- m["content"] + eos_token }}{%- endif %}
{%- endfor %}"""
GEMMA = """\
{{ bos_token }}
{%- if messages[0]["role"] == "system" %}{{ raise_exception("System role not supported") }}{% endif %}
{%- for m in messages %}
  {%- if (m["role"] == "user") != (loop.index0 % 2 == 0) %}{{ raise_exception("Roles must alternate") }}{% endif %}
  {%- set role = "model" if m["role"] == "assistant" else m["role"] %}
  {{- "<start_of_turn>" + role + "\\n" + m["content"] | trim + "<end_of_turn>\\n" }}
{%- endfor %}
{%- if add_generation_prompt %}{{ "<start_of_turn>model\\n" }}{% endif %}"""
PHI3 = (
    "{% for m in messages %}{% if m['role'] in ['system', 'user', 'assistant'] %}"
    "{{ '<|' + m['role'] + '|>\n' + m['content'] + '<|end|>\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}"
)
R1 = _CHATML + "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n<think>\n' }}{%- endif %}"

FAMILIES = {
    "qwen3": QWEN3,
    "smollm3": SMOLLM3,
    "llama32": LLAMA32,
    "granite": GRANITE,
    "mistral_small": MISTRAL_SMALL,
    "gemma": GEMMA,
    "phi3": PHI3,
    "r1": R1,
}
#: Those that write the date.
DATED = ("smollm3", "llama32", "granite", "mistral_small")
