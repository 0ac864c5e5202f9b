# bash completion of reprofix: the program itself says what may come next.
_reprofix() {
    # Bash cuts words at `:` and `=`, which are part of ours: cut the line at blanks alone.
    local line=${COMP_LINE:0:COMP_POINT} words=() word blank index
    for ((index = 0; index <= COMP_CWORD; index++)); do
        word=${COMP_WORDS[index]}
        blank=${line%%[![:blank:]]*}
        line=${line#"$blank"}
        [[ $line == "$word"* ]] || word=$line
        line=${line#"$word"}
        if ((index == 0)) || [[ $blank ]]; then words+=("$word"); else words[-1]+=$word; fi
    done
    local current=${words[-1]} replies
    mapfile -t replies < <(reprofix completions bash --at $((${#words[@]} - 1)) -- "${words[@]}" 2>/dev/null)
    COMPREPLY=()
    for word in "${replies[@]}"; do
        word=${word%%$'\t'*}
        # Readline replaces only what is behind the last of its own cuts.
        case $current in *[:=]*) word=${word#"${current%"${current##*[:=]}"}"} ;; esac
        [[ $word == *[[:blank:]]* ]] && printf -v word %q "$word"
        COMPREPLY+=("$word")
    done
    [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *[/:=] ]] && compopt -o nospace 2>/dev/null
    return 0
}
complete -o nosort -F _reprofix reprofix 2>/dev/null || complete -F _reprofix reprofix
