# fish completion of reprofix: the program itself says what may come next.
function __reprofix_complete
    set -l words (commandline --current-process --tokenize --cut-at-cursor) (commandline --current-token --cut-at-cursor)
    reprofix completions fish --at (math (count $words) - 1) -- $words 2>/dev/null
end
complete --keep-order --no-files --command reprofix --arguments '(__reprofix_complete)'
